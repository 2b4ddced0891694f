//! The database down, hung, read-only, and out of connections.

use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{Row, World};
use crate::support::{eventually, postgres::Postgres, process::Process};

const AWAY: Row = Row {
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
async fn the_ledger_is_exact(world: &World, postgres: &Postgres) {
    let answered = world
        .app
        .upstream
        .calls()
        .iter()
        .filter(|call| call.path.ends_with("/chat/completions"))
        .count();
    eventually("the ledger", || async {
        let mut connection = postgres.connection().await;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_records")
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
    postgres.kill();
    // The first requests find out, and are told like those after them.
    let first = world.ada.client.get("/api/conversations").await;
    first.problem(503, "database_unavailable");
    world.holds(AWAY).await;
    postgres.bring_back().await;
    world.recovers().await;
    the_ledger_is_exact(&world, &postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_hung() {
    let postgres = Postgres::start().await;
    let world = World::on(&postgres).await;
    postgres.hang();
    let first = world.ada.client.get("/api/conversations").await;
    first.problem(503, "database_unavailable");
    world.holds(AWAY).await;
    postgres.wake();
    world.recovers().await;
    the_ledger_is_exact(&world, &postgres).await;
}

async fn set_read_only(postgres: &Postgres, value: &str) {
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
    the_ledger_is_exact(&world, &postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_out_of_connections() {
    let postgres = Postgres::start().await;
    let world = World::on(&postgres).await;
    let mut taken = Vec::new();
    while let Ok(connection) = PgConnection::connect(&postgres.url()).await {
        taken.push(connection);
        assert!(taken.len() < 100, "the server has no limit");
    }
    // Those that the pool has serve on, one request after the other: everything works, at a slower pace.
    for _ in 0..3 {
        world.ada.client.get("/api/conversations").await.ok(200);
        world.ada.client.post("/api/conversations", &json!({})).await.ok(201);
        world.known.get("/v1/models").await.ok(200);
    }
    // More at once than there are connections: some are told to come back, none is left waiting, and nothing breaks.
    let asked = std::time::Instant::now();
    let many = (0..30).map(|_| async { world.ada.client.get("/api/conversations").await.status.as_u16() });
    let statuses = futures_util::future::join_all(many).await;
    assert!(asked.elapsed() < super::BOUND, "{:?}", asked.elapsed());
    assert!(
        statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&200), "{statuses:?}");
    world.app.client.get("/api/ready").await.ok(200);
    for connection in taken {
        connection.close().await.unwrap();
    }
    world.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_once_and_not_per_request() {
    let mut postgres = Postgres::start().await;
    let process = Process::start(&[
        ("DATABASE_URL", &postgres.url()),
        ("MAPLE__DATABASE__MIGRATE_ON_START", "false"),
        ("MAPLE__LOG__LEVEL", "warn"),
        ("MAPLE__AUTH__ARGON2_MEMORY_KIB", "64"),
    ]);
    let (client, _) = process.ready().await;
    let body = json!({"email": "ada@maple.test", "password": "a long enough password", "name": "Ada", "organization": "Maple"});
    let made = client.post("/api/auth/register", &body).await.ok(201);
    let person = client.with(made["access_token"].as_str().unwrap());
    let before = process.lines().len();
    postgres.kill();
    for _ in 0..300 {
        person
            .get("/api/conversations")
            .await
            .problem(503, "database_unavailable");
    }
    postgres.bring_back().await;
    process.line("database is back").await;
    let lines = process.lines().split_off(before);
    let of = |message: &str| lines.iter().filter(|line| line.contains(message)).count();
    assert_eq!(
        (of("database is unavailable; refusing"), of("database is back")),
        (1, 1),
        "{lines:#?}"
    );
    assert!(lines.len() < 15, "{} lines: {lines:#?}", lines.len());
}
