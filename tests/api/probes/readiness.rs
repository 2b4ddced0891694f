//! What a process waits for before it is ready.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    TestApp, app::OPS_TOKEN, database::TestDatabase, eventually, postgres::Postgres, process::Process,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_waits_for_the_database_and_liveness_does_not() {
    let mut postgres = Postgres::start().await;
    postgres.kill();
    let app = TestApp::start_on(&postgres.url(), |config| {
        config.database.acquire_timeout = Duration::from_millis(200);
    })
    .await;
    let asked = Instant::now();
    let answer = app.client.get("/api/ready").await;
    assert!(asked.elapsed() < Duration::from_secs(3), "after {:?}", asked.elapsed());
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json()["pending"],
        json!(["application_started", "database_migrations", "cache_warmup"])
    );
    app.client.get("/api/health?probe=liveness").await.ok(200);
    postgres.bring_back().await;
    eventually("readiness", || async {
        (app.client.get("/api/ready").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_database_that_never_comes_ends_the_process() {
    let app = TestApp::start_on("postgres://nobody@127.0.0.1:1/none", |config| {
        config.database.start_timeout = Duration::from_millis(100);
    })
    .await;
    let broken = app.server.lifecycle().broken.clone();
    tokio::time::timeout(Duration::from_secs(5), broken.cancelled())
        .await
        .expect("it gives up");
    let failure = app.server.failure();
    app.stop().await;
    let error = failure.take().expect("a reason");
    assert!(
        error.to_string().contains("could not be reached within 100ms"),
        "{error}"
    );
}

/// What `/api/ready` waits for on a database whose record of migrations was changed so.
async fn pending_after(statement: &str) -> (TestDatabase, TestApp, Value) {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    let app = TestApp::start_on(&database.url, |_| {}).await;
    let pending = eventually("the start", || async {
        let pending = app.client.get("/api/ready").await.json()["pending"].clone();
        let starting = pending
            .as_array()
            .is_some_and(|names| names.contains(&json!("cache_warmup")));
        (!starting).then_some(pending)
    })
    .await;
    (database, app, pending)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_with_other_contents_is_not_readiness() {
    let changed = "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 3";
    let (database, app, pending) = pending_after(changed).await;
    assert_eq!(pending, json!(["database_migrations"]));
    assert_eq!(app.client.get("/api/ready").await.status, 503);
    // A release whose migration is not applied yet is the same.
    let missing = "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    let (_second_database, second, pending) = pending_after(missing).await;
    assert_eq!(pending, json!(["database_migrations"]));
    assert_eq!(second.client.get("/api/ready").await.status, 503);
    // Put right, it is noticed.
    let fine = TestDatabase::create().await;
    let original: Vec<u8> = sqlx::query_scalar("SELECT checksum FROM _sqlx_migrations WHERE version = 3")
        .fetch_one(&mut fine.connection().await)
        .await
        .unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET checksum = $1 WHERE version = 3")
        .bind(original)
        .execute(&mut database.connection().await)
        .await
        .unwrap();
    eventually("readiness", || async {
        (app.client.get("/api/ready").await.status == 200).then_some(())
    })
    .await;
}

/// As for the old version during a blue-green switch, which may restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_migrations_are_fine() {
    let newer = "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
         VALUES (9999, 'of a later release', now(), true, '\\x01', 1)";
    let (_database, app, _) = pending_after(newer).await;
    app.client.get("/api/ready").await.ok(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_up_that_does_not_end_is_given_up_with_a_warning() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let mut lock = sqlx::Connection::begin(&mut connection).await.unwrap();
    sqlx::raw_sql("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let process = Process::start(&[
        ("MAPLE_ENV", "staging"),
        ("DATABASE_URL", &database.url),
        ("MAPLE__SERVER__HOST", "127.0.0.1"),
        ("MAPLE__SERVER__PUBLIC_URL", "https://maple.test"),
        ("MAPLE__SERVER__OPS_TOKEN", OPS_TOKEN),
        ("MAPLE__SERVER__WARMUP_TIMEOUT", "700ms"),
        (
            "MAPLE__AUTH__SIGNING_KEYS__K",
            "a-signing-key-for-a-start-0123456789abcdefghi",
        ),
        ("MAPLE__AUTH__ACTIVE_KEY", "k"),
        ("MAPLE__LOG__FILE", ""),
    ]);
    let warning = process.line("warm-up took too long; going on without").await;
    assert_eq!(warning["level"], "WARN");
    process.ready().await;
}
