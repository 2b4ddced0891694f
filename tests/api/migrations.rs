//! `mapleai migrate`: what it asks for, what it waits for, and where the try before it was interrupted.

mod environments;
mod locks;
mod review;
mod way_back;

use std::{
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::support::{TIMEOUT, TestApp, app::OPS_TOKEN, database::TestDatabase, eventually, postgres::Postgres, soon};

fn migrate(url: &str, variables: &[(&str, &str)]) -> Child {
    start(&["migrate"], url, variables)
}

fn start(arguments: &[&str], url: &str, variables: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_mapleai"))
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .env_clear()
        .env("DATABASE_URL", url)
        .env("MAPLE__LOG__FORMAT", "json")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn ended(process: Child) -> Output {
    let waiting = tokio::task::spawn_blocking(move || process.wait_with_output().unwrap());
    soon("the end of mapleai migrate", waiting).await.unwrap()
}

/// Runs `mapleai migrate` with these arguments to its end: its code, and what it has said.
async fn run(arguments: &[&str], url: &str, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let arguments: Vec<&str> = std::iter::once("migrate").chain(arguments.iter().copied()).collect();
    let output = ended(start(&arguments, url, variables)).await;
    let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), told)
}

/// What an environment other than development needs to be told.
fn deployed(environment: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("MAPLE_ENV", environment),
        ("MAPLE__SERVER__PUBLIC_URL", "https://maple.test"),
        (
            "MAPLE__AUTH__SIGNING_KEYS__K",
            "a-signing-key-of-a-test-0123456789abcdef",
        ),
        ("MAPLE__AUTH__ACTIVE_KEY", "k"),
        ("MAPLE__LOG__FILE", ""),
        ("MAPLE__LOG__FORMAT", "json"),
    ]
}

/// Makes the database as it was before some migrations.
async fn undo(database: &TestDatabase, statements: &'static str) {
    sqlx::raw_sql(statements)
        .execute(&mut database.connection().await)
        .await
        .unwrap();
}

async fn count(database: &TestDatabase, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(&mut database.connection().await)
        .await
        .unwrap()
}

fn doctor(url: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mapleai"))
        .arg("doctor")
        .current_dir(std::env::temp_dir())
        .env_clear()
        .env("DATABASE_URL", url)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

const BROKEN: &str = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
    WHERE c.relname = 'sessions_by_end' AND NOT i.indisvalid";
const MIGRATING: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mapleai migrate' AND datname = current_database()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_left_half_made_is_told_of_and_made_anew() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let count = async |query: &'static str| -> i64 {
        sqlx::query_scalar(query)
            .fetch_one(&mut database.connection().await)
            .await
            .unwrap()
    };
    for statement in [
        "DROP INDEX sessions_by_end",
        "CREATE TABLE set_aside AS SELECT * FROM _sqlx_migrations WHERE version = 7",
        "DELETE FROM _sqlx_migrations WHERE version = 7",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    // Somebody has written to the table and not come to an end.
    for statement in ["BEGIN", "LOCK TABLE sessions IN ROW EXCLUSIVE MODE"] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    let mut first = migrate(&database.url, &[]);
    eventually("the index to be in work", || async {
        (count(BROKEN).await == 1).then_some(())
    })
    .await;
    first.kill().unwrap();
    first.wait().unwrap();
    // The server sees by itself that its client is gone, so that nothing goes on, and no lock is held against the next try.
    eventually("the dead one's session to end", || async {
        (count(MIGRATING).await == 0).then_some(())
    })
    .await;
    sqlx::query("COMMIT").execute(&mut connection).await.unwrap();
    assert_eq!(count(BROKEN).await, 1);

    // As where the try after it took it for done.
    sqlx::query("INSERT INTO _sqlx_migrations SELECT * FROM set_aside")
        .execute(&mut connection)
        .await
        .unwrap();
    let app = TestApp::start_on(&database.url, |_| {}).await;
    app.client.get("/api/ready").await.ok(200);
    let health = app.client.with(OPS_TOKEN).get("/api/health").await.ok(200);
    let indexes = &health["checks"]["database_connection"]["components"]["indexes"];
    assert_eq!(indexes["status"], "warn", "{health}");
    assert!(
        indexes["detail"].as_str().unwrap().contains("sessions_by_end"),
        "{health}"
    );

    let again = ended(migrate(&database.url, &[])).await;
    assert!(again.status.success(), "{again:?}");
    let log = String::from_utf8(again.stdout).unwrap();
    assert!(
        log.contains("invalid index") && log.contains("sessions_by_end"),
        "{log}"
    );
    assert_eq!(count(BROKEN).await, 0);
    let made: i64 = count("SELECT count(*) FROM pg_indexes WHERE indexname = 'sessions_by_end'").await;
    assert_eq!(made, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_taken_for_done_is_seen_by_doctor_and_made_anew() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    sqlx::query("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'sessions_by_end'::regclass")
        .execute(&mut connection)
        .await
        .unwrap();
    let url = database.url.clone();
    let ill = tokio::task::spawn_blocking(move || doctor(&url)).await.unwrap();
    assert!(
        ill.contains("sessions_by_end") && ill.contains("mapleai migrate"),
        "{ill}"
    );
    let again = ended(migrate(&database.url, &[])).await;
    assert!(again.status.success(), "{again:?}");
    let url = database.url.clone();
    let well = tokio::task::spawn_blocking(move || doctor(&url)).await.unwrap();
    assert!(!well.contains("sessions_by_end"), "{well}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_ends_though_the_database_hangs_and_says_why() {
    let postgres = Postgres::start().await;
    postgres.hang();
    let began = Instant::now();
    let ended = ended(migrate(&postgres.url(), &[("MAPLE__DATABASE__MIGRATE_TIMEOUT", "2s")])).await;
    assert!(
        began.elapsed() < TIMEOUT.min(Duration::from_secs(15)),
        "{:?}",
        began.elapsed()
    );
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && told.contains("database"), "{told}");
    postgres.wake();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_another_that_is_migrating_says_for_whom() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    for statement in [
        "SET application_name = 'somebody else'",
        "SELECT pg_advisory_lock(x'6d61706c65616901'::bigint)",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    let waiting = migrate(&database.url, &[("MAPLE__DATABASE__MIGRATE_TIMEOUT", "3s")]);
    let ended = ended(waiting).await;
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("database.migrate_timeout"), "{told}");
    let log = String::from_utf8(ended.stdout).unwrap();
    assert!(
        !ended.status.success() && log.contains("waiting for another process") && log.contains("somebody else"),
        "{log}"
    );
}
