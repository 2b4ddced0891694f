//! A database that is there and under strain: statements that wait for a lock or on a server that hangs, and a full disk.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    Row, World,
    database::{AWAY, the_ledger_is_exact},
    writers::Writers,
};
use crate::support::{eventually, postgres::Postgres};

/// PostgreSQL's own limit of these tests; the service's is a quarter of a second longer.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);
/// With time for a connection before it, and room for a busy machine.
const GIVEN_UP_WITHIN: Duration = Duration::from_millis(2_750);

async fn world(postgres: &Postgres) -> World {
    World::with(postgres, |config| config.database.statement_timeout = STATEMENT_TIMEOUT).await
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

/// Keeps everybody else from the conversations until it is rolled back.
async fn lock_conversations(postgres: &Postgres) -> PgConnection {
    let mut connection = postgres.connection().await;
    run(
        &mut connection,
        "BEGIN; LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE",
    )
    .await;
    connection
}

/// Reads and writes of what is locked; gives how long the slowest took.
async fn all_are_refused(world: &World) -> Duration {
    let asked = Instant::now();
    let body = json!({});
    // One conversation is read from the database each time; lists are remembered for a while.
    let one = format!("/api/conversations/{}", world.conversation);
    let (reads, writes) = tokio::join!(
        futures_util::future::join_all((0..2).map(|_| world.ada.client.get(&one))),
        futures_util::future::join_all((0..2).map(|_| world.ada.client.post("/api/conversations", &body))),
    );
    for answer in reads.iter().chain(&writes) {
        answer.problem(503, "database_unavailable");
        assert!(!answer.header("retry-after").is_empty(), "{}", answer.text());
    }
    asked.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_too_slow() {
    let postgres = Postgres::start().await;
    let world = world(&postgres).await;
    let mut lock = lock_conversations(&postgres).await;
    let others = async {
        // The database is there: whoever does not ask for what is locked is served.
        tokio::time::sleep(STATEMENT_TIMEOUT + Duration::from_millis(100)).await;
        world.ada.client.get("/api/keys").await.ok(200);
        world.unknown.get("/v1/models").await.ok(200);
        world.app.client.get("/api/health").await.ok(200);
    };
    let (took, ()) = tokio::join!(all_are_refused(&world), others);
    assert!(took < GIVEN_UP_WITHIN, "{took:?}");
    world.ada.client.get("/api/keys").await.ok(200);
    run(&mut lock, "ROLLBACK").await;
    world.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_hanging_under_statements() {
    let postgres = Postgres::start().await;
    let world = world(&postgres).await;
    let mut lock = lock_conversations(&postgres).await;
    let hang = async {
        eventually("statements to be under way", || async {
            let mut watching = postgres.connection().await;
            let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_locks WHERE NOT granted")
                .fetch_one(&mut watching)
                .await
                .unwrap();
            // As many as one organisation may have at a time; the fourth finds no place.
            (waiting >= 3).then_some(())
        })
        .await;
        postgres.hang();
    };
    let (took, ()) = tokio::join!(all_are_refused(&world), hang);
    assert!(took < GIVEN_UP_WITHIN, "{took:?}");
    world.holds(AWAY).await;
    postgres.wake();
    run(&mut lock, "ROLLBACK").await;
    world.recovers().await;
    the_ledger_is_exact(&world, &postgres).await;
}

const TABLES: [&str; 5] = ["conversations", "messages", "sessions", "api_keys", "usage_records"];

/// The server answers as it does when its disk is full, by a trigger: filling a real one takes a file system of its own.
const FULL: &str = "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_with_a_full_disk() {
    let postgres = Postgres::start().await;
    let world = World::on(&postgres).await;
    let writers = Writers::start(&world.ada.client);
    let mut operator = postgres.connection().await;
    run(&mut operator, FULL).await;
    for table in TABLES {
        let trigger =
            format!("CREATE TRIGGER disk_full BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION disk_full()");
        run(&mut operator, &trigger).await;
    }
    // As a server that takes no writes.
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
    for table in TABLES {
        run(&mut operator, &format!("DROP TRIGGER disk_full ON {table}")).await;
    }
    world.recovers().await;
    writers.lost_nothing(&postgres).await;
    the_ledger_is_exact(&world, &postgres).await;
}
