//! A real PgBouncer in transaction mode between the service and its database, with the settings that docs/DEPLOYMENT.md gives
//! (pgbouncer/pgbouncer #525, #907: a client that sends `options` is turned away).

use std::{collections::HashSet, time::Duration};

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::{TestApp, accounts::register, database, eventually, pgbouncer::PgBouncer, postgres::Postgres};

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_pooler_serves() {
    let postgres = Postgres::start().await;
    let Some(bouncer) = PgBouncer::start(&postgres).await else {
        return;
    };
    let app = TestApp::start_on(&bouncer.url(), |_| {}).await;
    let ada = register(&app).await;
    let program = ada.program().await;
    // Prepared statements included, from many connections at once.
    for _ in 0..5 {
        let reads = (0..8).map(|_| ada.client.get("/api/keys"));
        for answer in futures_util::future::join_all(reads).await {
            answer.ok(200);
        }
        ada.client.post("/api/conversations", &json!({})).await.ok(201);
    }
    let ask = json!({"model": "maple-chat", "messages": []});
    program.post("/v1/chat/completions", &ask).await.ok(200);
    eventually("the record", || async {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_records")
            .fetch_one(&mut postgres.connection().await)
            .await
            .unwrap();
        (count == 1).then_some(())
    })
    .await;
    assert!(
        !bouncer.log().contains("unsupported startup parameter"),
        "{}",
        bouncer.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_over_the_roles_limit_is_ended_by_the_server_and_changes_nothing() {
    let postgres = Postgres::start().await;
    run(
        &mut postgres.connection().await,
        "ALTER ROLE maple SET statement_timeout = '500ms'",
    )
    .await;
    let Some(bouncer) = PgBouncer::start(&postgres).await else {
        return;
    };
    let app = TestApp::start_on(&bouncer.url(), |_| {}).await;
    let ada = register(&app).await;
    let mut lock = postgres.connection().await;
    run(&mut lock, "BEGIN; LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE").await;
    let refused = ada.client.post("/api/conversations", &json!({})).await;
    refused.problem(503, "database_unavailable");
    // Others are served all the while.
    ada.client.get("/api/keys").await.ok(200);
    run(&mut lock, "ROLLBACK").await;
    let listed = ada.client.get("/api/conversations").await.ok(200);
    assert_eq!(listed["data"], json!([]), "what was refused was made all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_is_noticed_and_so_is_what_the_role_lacks() {
    let postgres = Postgres::start().await;
    let Some(bouncer) = PgBouncer::start(&postgres).await else {
        return;
    };
    let of = |url: String| async move {
        let database = store::Database::new(&database::config(&url)).unwrap();
        database.sessions().await.unwrap()
    };
    let direct = of(postgres.url()).await;
    assert!(!direct.shared);
    let pooled = of(bouncer.url()).await;
    assert_eq!((pooled.shared, pooled.statement_timeout), (true, None));
    run(
        &mut postgres.connection().await,
        "ALTER ROLE maple SET statement_timeout = '4s'",
    )
    .await;
    run(
        &mut postgres.connection().await,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    )
    .await;
    let pooled = eventually("new sessions behind the pooler", || async {
        let found = store::Database::new(&database::config(&bouncer.url()))
            .unwrap()
            .sessions()
            .await;
        found.ok().filter(|found| found.statement_timeout.is_some())
    })
    .await;
    assert_eq!(
        (pooled.shared, pooled.statement_timeout),
        (true, Some(Duration::from_secs(4)))
    );
}

/// What the service sets in a session of its own, and that it leaves sessions alone whose role has the limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn direct_sessions_are_limited_by_the_service() {
    let postgres = Postgres::start().await;
    let app = TestApp::start_on(&postgres.url(), |config| {
        config.database.statement_timeout = Duration::from_millis(700);
    })
    .await;
    let ada = register(&app).await;
    let mut lock = postgres.connection().await;
    run(&mut lock, "BEGIN; LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE").await;
    let refused = ada.client.post("/api/conversations", &json!({})).await;
    refused.problem(503, "database_unavailable");
    let mut watching = postgres.connection().await;
    let waiting: Vec<i32> = sqlx::query_scalar("SELECT pid FROM pg_locks WHERE NOT granted")
        .fetch_all(&mut watching)
        .await
        .unwrap();
    assert_eq!(
        waiting.into_iter().collect::<HashSet<_>>(),
        HashSet::new(),
        "the server still waits for the lock"
    );
    run(&mut lock, "ROLLBACK").await;
}
