//! Answers that break off, or are slow to begin: what is kept of them.

use std::time::Duration;

use serde_json::json;
use sqlx::Connection;

use super::{ask_path, messages, settled, start};
use crate::support::{Reply, TestApp, accounts::register, eventually, upstream::delta};

#[tokio::test]
async fn a_partial_answer_is_kept_when_the_reader_leaves() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    app.upstream.reply(Reply::events().text("Half an").stall());
    let mut events = ada
        .client
        .stream(&ask_path(&conversation), &json!({"content": "Tell me"}))
        .await;
    events.until("delta").await;
    drop(events);
    app.upstream.hung_up().await;
    let answer = settled(&ada.client, &conversation).await;
    assert_eq!(
        (&answer["content"], &answer["status"]),
        (&json!("Half an"), &json!("partial"))
    );
}

#[tokio::test]
async fn a_reader_who_leaves_before_the_first_word_stops_the_answer() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    app.upstream.reply(Reply::silence());
    let mut events = ada
        .client
        .stream(&ask_path(&conversation), &json!({"content": "Tell me"}))
        .await;
    events.until("message").await;
    app.upstream.called(1).await;
    drop(events);
    app.upstream.hung_up().await;
    let answer = settled(&ada.client, &conversation).await;
    assert_eq!((&answer["content"], &answer["status"]), (&json!(""), &json!("failed")));
    assert_eq!(messages(&ada.client, &conversation).await[0]["content"], "Tell me");
}

#[tokio::test]
async fn an_upstream_failure_is_told_and_what_came_is_kept() {
    let app = TestApp::start_with(|config| {
        config.providers.get_mut("fake").unwrap().first_byte_timeout = Duration::from_millis(300);
    })
    .await;
    let ada = register(&app).await;
    for (reply, code, status, text) in [
        (
            Reply::json(500, &json!({"error": "secret"})),
            "provider_error",
            "failed",
            "",
        ),
        (
            Reply::json(400, &json!({"error": "secret"})),
            "provider_refused",
            "failed",
            "",
        ),
        (Reply::silence(), "provider_timeout", "failed", ""),
        (
            Reply::events().text("Half an").break_off(),
            "provider_error",
            "partial",
            "Half an",
        ),
    ] {
        let conversation = ada.conversation().await;
        app.upstream.reply(reply);
        let mut events = ada
            .client
            .stream(&ask_path(&conversation), &json!({"content": "Tell me"}))
            .await;
        let error = events.until("error").await.json();
        assert_eq!(error["code"], code);
        assert_eq!(error["type"], "about:blank");
        assert!(error["request_id"].as_str().is_some_and(|id| id.len() == 36), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(events.next().await, None);
        let answer = settled(&ada.client, &conversation).await;
        assert_eq!((&answer["content"], &answer["status"]), (&json!(text), &json!(status)));
    }
}

/// A reader who goes away while the question is being stored leaves no answer behind that nobody writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_is_left_at_once_is_kept_and_closed() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    let mut database = app.database().await;
    let mut lock = database.begin().await.unwrap();
    sqlx::query("SELECT id FROM conversations FOR UPDATE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let request = ada.client.request(http::Method::POST, &ask_path(&conversation));
    let asking = tokio::spawn(request.json(&json!({"content": "Quick"})).send());
    eventually("the question's wait", || async {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let mut beside = app.database().await;
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut beside).await.unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    asking.abort();
    // For the server to notice.
    tokio::time::sleep(Duration::from_millis(300)).await;
    lock.rollback().await.unwrap();
    let kept = eventually("both sides", || async {
        let kept = messages(&ada.client, &conversation).await;
        (kept.len() == 2 && kept[1]["status"] != "streaming").then_some(kept)
    })
    .await;
    assert_eq!(
        (&kept[0]["content"], &kept[1]["status"]),
        (&json!("Quick"), &json!("failed"))
    );
}

/// A provider may think for longer than an answer may be silent before it is taken for abandoned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_shows_signs_of_life_before_its_first_word() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    app.upstream.reply(Reply::silence());
    let _events = ada
        .client
        .stream(&ask_path(&conversation), &json!({"content": "Think"}))
        .await;
    eventually("a sign of life", || async {
        let alive = "SELECT updated_at > created_at FROM messages WHERE status = 'streaming'";
        let mut beside = app.database().await;
        let alive: bool = sqlx::query_scalar(alive).fetch_one(&mut beside).await.unwrap();
        alive.then_some(())
    })
    .await;
}

/// A small model reads a long conversation for minutes (ggml-org/llama.cpp #16048).
#[tokio::test]
async fn how_much_of_the_prompt_is_read_is_told_until_the_first_word() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    app.upstream.reply(
        Reply::events()
            .chunk(format!(
                "data: {}\n\n: 64 of 128 tokens of the prompt are read\n\n",
                delta("")
            ))
            // What comes with a comment is no less an answer.
            .chunk(format!(
                ": 128 of 128 tokens of the prompt are read\n\ndata: {}\n\n",
                delta("Read.")
            ))
            .chunk(": 1 of 128 tokens of the prompt are read\n\n")
            .done(),
    );
    let mut events = ada
        .client
        .stream(&ask_path(&conversation), &json!({"content": "Read this"}))
        .await;
    let read = events.until("reading").await.json();
    assert_eq!(read, json!({"read": 64, "total": 128}));
    let read = events.until("reading").await.json();
    assert_eq!(read, json!({"read": 128, "total": 128}));
    assert_eq!(events.until("delta").await.json()["text"], "Read.");
    let rest = events.rest().await;
    assert!(!rest.iter().any(|event| event.name == "reading"));
}
