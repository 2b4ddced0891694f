//! The database down, hung, read-only, and out of connections.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{Row, World, writers::Writers};
use crate::support::{eventually, postgres::Postgres};

pub(super) const AWAY: Row = Row {
    read: (503, "database_unavailable"),
    write: (503, "database_unavailable"),
    sign_in: (503, "database_unavailable"),
    page: (503, ""),
    ask: (503, "database_unavailable"),
    known_key: (200, ""),
    unknown_key: (503, "database_unavailable"),
    health: 503,
};

/// Each finished call of a known key is in the ledger once, however long it had to wait for the database.
pub(super) async fn the_ledger_is_exact(world: &World, postgres: &Postgres) {
    let answered = world
        .app
        .upstream
        .calls()
        .iter()
        .filter(|call| call.path.ends_with("/chat/completions"))
        .count();
    eventually("the ledger", || async {
        let mut connection = postgres.connection().await;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_records WHERE NOT cached")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert!(
            usize::try_from(count).unwrap() <= answered,
            "a call is recorded twice: {count} of {answered}"
        );
        (usize::try_from(count).unwrap() == answered).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_down() {
    let mut postgres = Postgres::start().await;
    let world = World::on(&postgres).await;
    let writers = Writers::start(&world.ada.client);
    tokio::time::sleep(Duration::from_millis(200)).await;
    postgres.kill();
    // The first requests find out, and are told like those after them.
    let first = world.ada.client.get("/api/invitations").await;
    first.problem(503, "database_unavailable");
    world.holds(AWAY).await;
    postgres.bring_back().await;
    world.recovers().await;
    writers.lost_nothing(&postgres).await;
    the_ledger_is_exact(&world, &postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_hung() {
    let postgres = Postgres::start().await;
    let world = World::on(&postgres).await;
    let writers = Writers::start(&world.ada.client);
    tokio::time::sleep(Duration::from_millis(200)).await;
    postgres.hang();
    let first = world.ada.client.get("/api/invitations").await;
    first.problem(503, "database_unavailable");
    world.holds(AWAY).await;
    postgres.wake();
    world.recovers().await;
    writers.lost_nothing(&postgres).await;
    the_ledger_is_exact(&world, &postgres).await;
}

pub(super) async fn set_read_only(postgres: &Postgres, value: &str) {
    let mut connection = postgres.connection().await;
    sqlx::raw_sql("SET default_transaction_read_only = off")
        .execute(&mut connection)
        .await
        .unwrap();
    let statement = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::raw_sql("SELECT pg_reload_conf()")
        .execute(&mut connection)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_read_only() {
    let postgres = Postgres::start().await;
    let world = World::on(&postgres).await;
    let writers = Writers::start(&world.ada.client);
    tokio::time::sleep(Duration::from_millis(200)).await;
    set_read_only(&postgres, "on").await;
    world
        .ada
        .client
        .post("/api/conversations", &json!({}))
        .await
        .problem(503, "database_unavailable");
    // Reading goes on; what would write is refused.
    let row = Row {
        read: (200, ""),
        page: (200, ""),
        unknown_key: (200, ""),
        health: 200,
        ..AWAY
    };
    world.holds(row).await;
    let health = world.operations.get("/api/health").await.ok(200);
    assert_eq!(health["checks"]["database_connection"]["status"], "warn", "{health}");
    set_read_only(&postgres, "off").await;
    world.recovers().await;
    writers.lost_nothing(&postgres).await;
    the_ledger_is_exact(&world, &postgres).await;
}

/// Takes every connection that the server still has.
pub(super) async fn take_all_connections(postgres: &Postgres) -> Vec<PgConnection> {
    let mut taken = Vec::new();
    while let Ok(connection) = PgConnection::connect(&postgres.url()).await {
        taken.push(connection);
        assert!(taken.len() < 100, "the server has no limit");
    }
    taken
}

/// Reads at once, more than there are connections: some are told to come back, none is left waiting.
async fn crowd(world: &World, size: usize, served: &AtomicUsize) {
    let reads = (0..size).map(|_| async {
        let asked = Instant::now();
        let answer = world.ada.client.get("/api/keys").await;
        assert!(asked.elapsed() < super::BOUND, "{:?}", asked.elapsed());
        if answer.status == 200 {
            served.fetch_add(1, Ordering::Relaxed);
        } else {
            answer.problem(503, "database_unavailable");
        }
    });
    join_all(reads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_out_of_connections() {
    let postgres = Postgres::start().await;
    // Far more than have been opened when the server has no more of them.
    let world = World::with(&postgres, |config| config.database.max_connections = 20).await;
    let taken = take_all_connections(&postgres).await;
    // One after the other, everything works: the pool's own connections are enough.
    for _ in 0..10 {
        world.ada.client.get("/api/invitations").await.ok(200);
        world.ada.client.post("/api/conversations", &json!({})).await.ok(201);
        world.known.get("/v1/models").await.ok(200);
    }
    // When a crowd finds out that there are no more, that shuts out nobody whom those of the pool can serve.
    let served = AtomicUsize::new(0);
    let alone = async {
        eventually("the crowd to be served", || async {
            (served.load(Ordering::Relaxed) >= 5).then_some(())
        })
        .await;
        let until = Instant::now() + Duration::from_secs(1);
        let mut reached = 0;
        while Instant::now() < until {
            // One of a crowd may have to come back; a closed gate would turn everybody away.
            let answer = world.ada.client.get("/api/invitations").await;
            if answer.status == 503 {
                answer.problem(503, "database_unavailable");
            } else {
                answer.ok(200);
                reached += 1;
            }
        }
        assert!(reached > 0, "nobody was served");
    };
    tokio::join!(crowd(&world, 30, &served), alone);
    let writers = Writers::start(&world.ada.client);
    for _ in 0..3 {
        let (deviations, ()) = tokio::join!(world.deviations(&super::NORMAL), crowd(&world, 30, &served));
        let wrong: Vec<_> = deviations
            .iter()
            .filter(|deviation| !deviation.contains(": 503 Service Unavailable \"database_unavailable\" after"))
            .filter(|deviation| !deviation.starts_with("page: 503") && !deviation.starts_with("health"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    for connection in taken {
        connection.close().await.unwrap();
    }
    world.recovers().await;
    writers.lost_nothing(&postgres).await;
    the_ledger_is_exact(&world, &postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_refusing_our_login() {
    let postgres = Postgres::start().await;
    let world = World::on(&postgres).await;
    let mut operator = postgres.connection().await;
    sqlx::raw_sql("ALTER ROLE maple NOLOGIN")
        .execute(&mut operator)
        .await
        .unwrap();
    sqlx::raw_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mapleai'")
        .execute(&mut operator)
        .await
        .unwrap();
    world.holds(AWAY).await;
    sqlx::raw_sql("ALTER ROLE maple LOGIN")
        .execute(&mut operator)
        .await
        .unwrap();
    world.recovers().await;
    the_ledger_is_exact(&world, &postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_known_as_long_as_its_look_up_is_believed() {
    let mut postgres = Postgres::start().await;
    let world = World::with(&postgres, |config| config.auth.lookup_ttl = Duration::from_secs(1)).await;
    postgres.kill();
    eventually("the look-up's end", || async {
        let answer = world.known.get("/v1/models").await;
        (answer.status != 200).then(|| answer.openai_error(503, "database_unavailable"))
    })
    .await;
    postgres.bring_back().await;
    world.recovers().await;
}
