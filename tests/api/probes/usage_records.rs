//! No room for more usage records: every call is refused, and health says so.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use sqlx::Executor;

use super::{check, operations};
use crate::support::{Client, Reply, TestApp, accounts::register, eventually};

fn question() -> Value {
    json!({"model": "maple-chat", "messages": []})
}

async fn start(room: usize) -> TestApp {
    TestApp::start_with(|config| {
        config.usage.queue_capacity = room;
        config.database.statement_timeout = Duration::from_millis(300);
        config.providers.remove("refusing");
        config.models.retain(|model| model.provider != "refusing");
    })
    .await
}

/// Health once its check of usage records says so, from the operations listener.
async fn told(operations: &Client, status: &'static str) -> Value {
    eventually("health to notice", || async {
        let health = operations.get("/api/health").await.ok(200);
        (check(&health, "usage_records")["status"] == status).then_some(health)
    })
    .await
}

fn detail(health: &Value) -> &str {
    let detail = &check(health, "usage_records")["components"]["usage_records"]["detail"];
    detail.as_str().unwrap_or_else(|| panic!("{health}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_backlog_of_usage_records_is_a_warning_until_the_database_takes_them() {
    let app = start(3).await;
    let operations = operations(&app);
    let program = register(&app).await.program().await;
    assert_eq!(
        detail(&told(&operations, "pass").await),
        "0 records wait for the database"
    );

    // Others hold the table; the database itself is well.
    let mut holder = app.database().await;
    holder
        .execute("BEGIN; LOCK TABLE usage_records IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let served = AtomicI64::new(0);
    let health = eventually("the backlog to be full", || async {
        // The first ones have left it, and wait in the batch that is not taken.
        let answer = program.post("/v1/chat/completions", &question()).await;
        if answer.status == 200 {
            served.fetch_add(1, Ordering::Relaxed);
        }
        let health = operations.get("/api/health").await.ok(200);
        (check(&health, "usage_records")["status"] == "warn").then_some(health)
    })
    .await;
    let refused = program.post("/v1/chat/completions", &question()).await;
    refused.openai_error(503, "usage_backlog_full");
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(
        detail(&health),
        "3 records wait for the database; there is no room for more, so every call is refused"
    );
    assert_eq!(health["status"], "warn", "{health}");
    assert_eq!(check(&health, "database_connection")["status"], "pass", "{health}");
    let strangers = app.client.get("/api/health").await;
    assert_eq!(check(&strangers.json(), "usage_records")["status"], "warn");
    assert!(!strangers.text().contains("records wait"), "{}", strangers.text());

    holder.execute("ROLLBACK").await.unwrap();
    assert_eq!(told(&operations, "pass").await["status"], "pass");
    program.post("/v1/chat/completions", &question()).await.ok(200);
    eventually("what was served to be recorded", || async {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_records")
            .fetch_one(&mut app.database().await)
            .await
            .unwrap();
        (count == served.load(Ordering::Relaxed) + 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_under_way_that_leave_no_room_are_a_warning_too() {
    let app = start(2).await;
    let operations = operations(&app);
    let program = register(&app).await.program().await;
    let under_way: Vec<_> = (0..2)
        .map(|_| {
            app.upstream.reply(Reply::silence());
            let call = program
                .request(Method::POST, "/v1/chat/completions")
                .json(&question())
                .send();
            tokio::spawn(call)
        })
        .collect();
    app.upstream.called(2).await;
    let health = told(&operations, "warn").await;
    assert!(detail(&health).contains("every call is refused"), "{health}");
    program
        .post("/v1/chat/completions", &question())
        .await
        .openai_error(503, "usage_backlog_full");
    for call in under_way {
        call.abort();
    }
    told(&operations, "pass").await;
    program.post("/v1/chat/completions", &question()).await.ok(200);
}
