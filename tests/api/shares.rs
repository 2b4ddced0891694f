//! Connections to the database, shared: what one kind of work, one caller or one statement costs is not taken for an outage,
//! and not paid for by others. And a database that is far away serves.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::{TestApp, accounts::register, eventually, far::Far, postgres::Postgres};

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

async fn lock(postgres: &Postgres, table: &str) -> PgConnection {
    let mut connection = postgres.connection().await;
    run(
        &mut connection,
        &format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"),
    )
    .await;
    connection
}

async fn waiting_for_locks(postgres: &Postgres) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM pg_locks WHERE NOT granted")
        .fetch_one(&mut postgres.connection().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_refuses_only_those_who_ask_for_it() {
    let postgres = Postgres::start().await;
    let app = TestApp::start_on(&postgres.url(), |config| {
        config.database.max_connections = 20;
        config.database.statement_timeout = Duration::from_secs(20);
        config.server.request_timeout = Duration::from_secs(25);
    })
    .await;
    let ada = register(&app).await;
    let other = register(&app).await;
    let conversation = ada.conversation().await;
    let (_, unknown) = other.create_key().await;
    let mut held = lock(&postgres, "messages").await;
    let path = format!("/api/conversations/{conversation}");
    let reading = async {
        let readers = futures_util::future::join_all((0..30).map(|_| ada.client.get(&path)));
        readers.await
    };
    let others = async {
        eventually("readers to wait for the table", || async {
            (waiting_for_locks(&postgres).await >= 5).then_some(())
        })
        .await;
        // In several rounds, past what a request waits for a connection.
        for _ in 0..10 {
            ada.client.get("/api/sessions").await.ok(200);
            other.client.get("/api/invitations").await.ok(200);
            other.client.post("/api/conversations", &json!({})).await.ok(201);
            app.client.with(&unknown).get("/v1/models").await.ok(200);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        run(&mut held, "ROLLBACK").await;
    };
    let (answers, ()) = tokio::join!(reading, others);
    assert!(answers.iter().any(|answer| answer.status == 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_reports_refuse_nobody_else() {
    let postgres = Postgres::start().await;
    let app = TestApp::start_on(&postgres.url(), |config| {
        config.database.max_connections = 20;
        config.database.statement_timeout = Duration::from_secs(20);
        config.server.request_timeout = Duration::from_secs(25);
    })
    .await;
    let ada = register(&app).await;
    let other = register(&app).await;
    let mut held = lock(&postgres, "usage_daily").await;
    let reports = async {
        // Of different days: equal ones would be one.
        let asks = (1..=20).map(|day| format!("/api/usage?from=2026-01-{day:02}&to=2026-01-{day:02}"));
        let client = &ada.client;
        futures_util::future::join_all(asks.map(|path| async move { client.get(&path).await.status })).await
    };
    let others = async {
        eventually("reports to wait", || async {
            (waiting_for_locks(&postgres).await >= 3).then_some(())
        })
        .await;
        assert!(
            waiting_for_locks(&postgres).await <= 4,
            "reports have a compartment of their own"
        );
        for _ in 0..10 {
            for person in [&ada, &other] {
                person.client.get("/api/invitations").await.ok(200);
                person.client.post("/api/conversations", &json!({})).await.ok(201);
            }
        }
        run(&mut held, "ROLLBACK").await;
    };
    tokio::join!(reports, others);
}

/// One statement that the database answers late is that statement's matter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_at_its_limit_and_readers_who_leave_close_the_gate_for_nobody() {
    let postgres = Postgres::start().await;
    // As behind a pooler: the server's limit is longer than ours.
    run(
        &mut postgres.connection().await,
        "ALTER ROLE maple SET statement_timeout = '60s'",
    )
    .await;
    let app = TestApp::start_on(&postgres.url(), |config| {
        config.database.statement_timeout = Duration::from_millis(500);
    })
    .await;
    let ada = register(&app).await;
    let conversation = ada.conversation().await;
    // Longer than the client's limit, however the server limits its statements.
    let mut held = lock(&postgres, "messages").await;
    let path = format!("/api/conversations/{conversation}");
    let locked = async {
        for _ in 0..3 {
            ada.client.get(&path).await.problem(503, "database_unavailable");
        }
        // Readers who leave in mid-query.
        for _ in 0..10 {
            let reading = tokio::time::timeout(Duration::from_millis(50), ada.client.get(&path));
            assert!(reading.await.is_err());
        }
    };
    let others = async {
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            ada.client.get("/api/invitations").await.ok(200);
        }
    };
    tokio::join!(locked, others);
    run(&mut held, "ROLLBACK").await;
    assert_eq!(app.client.get("/api/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_200_milliseconds_away_serves() {
    let postgres = Postgres::start().await;
    let url = postgres.with_password("distant", "a-password").await;
    let port = url::Url::parse(&url).unwrap().port().unwrap();
    let far = Far::to(port, Duration::from_millis(200)).await;
    let url = url.replace(&format!(":{port}/"), &format!(":{}/", far.address.port()));
    let app = TestApp::start_on(&url, |config| {
        config.server.warmup_timeout = Duration::from_secs(10);
        config.database.max_connections = 20;
    })
    .await;
    eventually("readiness", || async {
        (app.client.get("/api/ready").await.status == 200).then_some(())
    })
    .await;
    let ada = register(&app).await;
    for _ in 0..5 {
        ada.client.get("/api/invitations").await.ok(200);
        ada.client.post("/api/conversations", &json!({})).await.ok(201);
    }
    // More at once than connections are open: those who come too early find them open when they come again.
    eventually("a crowd to be served", || async {
        let crowd = futures_util::future::join_all((0..5).map(|_| ada.client.get("/api/invitations"))).await;
        crowd.iter().all(|answer| answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(app.client.get("/api/health").await.status, 200);
}
