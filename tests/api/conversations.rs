//! Conversations and their answers, which are kept whatever happens to the reader.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use sqlx::Connection;
use tokio::sync::Semaphore;

use crate::support::{
    Client, Reply, TestApp,
    accounts::{Person, register},
    eventually,
};

async fn start() -> (TestApp, Person) {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    (app, ada)
}

async fn messages(client: &Client, conversation: &str) -> Vec<Value> {
    let read = client.get(&format!("/api/conversations/{conversation}")).await.ok(200);
    read["messages"].as_array().unwrap().clone()
}

/// Waits until the last message is no longer being written.
async fn settled(client: &Client, conversation: &str) -> Value {
    eventually("the end of the writing", || async {
        let messages = messages(client, conversation).await;
        messages
            .last()
            .filter(|message| message["status"] != "streaming")
            .cloned()
    })
    .await
}

fn ask_path(conversation: &str) -> String {
    format!("/api/conversations/{conversation}/messages")
}

#[tokio::test]
async fn conversations_are_made_renamed_and_deleted() {
    let (_app, ada) = start().await;
    let made = ada.client.post("/api/conversations", &json!({})).await.ok(201);
    assert_eq!(
        (&made["title"], &made["model"]),
        (&json!("New conversation"), &Value::Null)
    );
    let path = format!("/api/conversations/{}", made["id"].as_str().unwrap());
    let named = ada
        .client
        .post("/api/conversations", &json!({"title": "Plans", "model": "maple-chat"}))
        .await
        .ok(201);
    assert_eq!(
        (&named["title"], &named["model"]),
        (&json!("Plans"), &json!("maple-chat"))
    );

    let renamed = ada.client.patch(&path, &json!({"title": "  Engines "})).await.ok(200);
    assert_eq!(renamed["title"], "Engines");
    let read = ada.client.get(&path).await.ok(200);
    assert_eq!((&read["title"], &read["messages"]), (&json!("Engines"), &json!([])));
    for bad in [
        json!({"title": ""}),
        json!({"title": "x".repeat(201)}),
        json!({"model": "gpt-99"}),
        json!({"model": "maple-embed"}),
    ] {
        ada.client.patch(&path, &bad).await.problem(422, "invalid_fields");
        ada.client
            .post("/api/conversations", &bad)
            .await
            .problem(422, "invalid_fields");
    }
    ada.client.delete(&path).await.ok(204);
    ada.client.get(&path).await.problem(404, "not_found");
    ada.client.delete(&path).await.problem(404, "not_found");
    let list = ada.client.get("/api/conversations").await.ok(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_list_is_paged_by_key_newest_first() {
    let (_app, ada) = start().await;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(ada.conversation().await);
    }
    made.reverse();
    let (mut seen, mut path) = (Vec::new(), "/api/conversations?limit=3".to_owned());
    loop {
        let page = ada.client.get(&path).await.ok(200);
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| c["id"].as_str().unwrap().to_owned()),
        );
        // New ones come before what has been read and shift nothing.
        ada.conversation().await;
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/api/conversations?limit=3&cursor={cursor}");
    }
    assert_eq!(seen, made);
    for bad in ["limit=0", "limit=101", "limit=x", "cursor=x", "offset=3"] {
        ada.client
            .get(&format!("/api/conversations?{bad}"))
            .await
            .problem(422, "invalid_fields");
    }
}

#[tokio::test]
async fn an_answer_is_streamed_and_both_sides_are_kept() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    let gate = Arc::new(Semaphore::new(0));
    app.upstream
        .reply(Reply::events().text("Hel").gate(&gate).text("lo").usage(11, 2).done());
    let mut events = ada
        .client
        .stream(&ask_path(&conversation), &json!({"content": "Say hello, please"}))
        .await;

    let first = events.next().await.unwrap();
    assert_eq!(first.name, "message");
    let first = first.json();
    assert_eq!(
        (&first["user"]["content"], &first["user"]["status"]),
        (&json!("Say hello, please"), &json!("complete"))
    );
    assert_eq!(
        (&first["assistant"]["role"], &first["assistant"]["status"]),
        (&json!("assistant"), &json!("streaming"))
    );
    let delta = events.next().await.unwrap();
    assert_eq!((delta.name.as_str(), delta.json()), ("delta", json!({"text": "Hel"})));
    // The question is stored while the answer is still on its way.
    assert_eq!(
        messages(&ada.client, &conversation).await[0]["content"],
        "Say hello, please"
    );
    gate.add_permits(1);
    assert_eq!(events.next().await.unwrap().json(), json!({"text": "lo"}));
    let done = events.next().await.unwrap();
    assert_eq!(done.name, "done");
    let done = done.json();
    assert_eq!(
        (&done["message"]["content"], &done["message"]["status"]),
        (&json!("Hello"), &json!("complete"))
    );
    assert_eq!(
        (&done["usage"], &done["html"]),
        (&json!({"input_tokens": 11, "output_tokens": 2}), &Value::Null)
    );
    assert_eq!(events.next().await, None);

    let kept = messages(&ada.client, &conversation).await;
    assert_eq!(kept, [first["user"].clone(), done["message"].clone()]);
    let read = ada
        .client
        .get(&format!("/api/conversations/{conversation}"))
        .await
        .ok(200);
    assert_eq!(
        (&read["title"], &read["model"]),
        (&json!("Say hello, please"), &json!("maple-chat"))
    );
}

#[tokio::test]
async fn the_whole_conversation_goes_to_the_model() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    for content in ["First", "Second"] {
        ada.client
            .stream(&ask_path(&conversation), &json!({"content": content}))
            .await
            .until("done")
            .await;
    }
    let sent = app.upstream.calls()[1].json();
    let expected = json!([
        {"role": "user", "content": "First"},
        {"role": "assistant", "content": "Hello there"},
        {"role": "user", "content": "Second"},
    ]);
    assert_eq!(sent["messages"], expected);
    assert_eq!(sent["model"], "upstream-chat-001");
    let body = json!({"content": "Third", "model": "same-name"});
    ada.client
        .stream(&ask_path(&conversation), &body)
        .await
        .until("done")
        .await;
    assert_eq!(app.upstream.calls()[2].json()["model"], "same-name");
    ada.client
        .stream(&ask_path(&conversation), &json!({"content": "Fourth"}))
        .await
        .until("done")
        .await;
    assert_eq!(
        app.upstream.calls()[3].json()["model"],
        "same-name",
        "the model last used"
    );
}

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

#[tokio::test]
async fn regenerating_replaces_the_answer_once_the_new_one_has_text() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    let again = format!("/api/conversations/{conversation}/regenerate");
    ada.client.post(&again, &json!({})).await.problem(409, "nothing_asked");
    ada.client
        .stream(&ask_path(&conversation), &json!({"content": "Tell me"}))
        .await
        .until("done")
        .await;

    // A new answer that comes to nothing leaves the old one standing, and no trace of itself.
    app.upstream.reply(Reply::json(500, &json!({})));
    ada.client.stream(&again, &json!({})).await.until("error").await;
    let texts = |messages: Vec<Value>| -> Vec<String> {
        let contents = messages.iter().map(|message| message["content"].as_str().unwrap());
        contents.map(str::to_owned).collect()
    };
    assert_eq!(
        texts(messages(&ada.client, &conversation).await),
        ["Tell me", "Hello there"]
    );

    app.upstream.reply(Reply::events().text("Another answer").done());
    let mut events = ada.client.stream(&again, &json!({"model": "same-name"})).await;
    assert_eq!(events.next().await.unwrap().json()["user"], Value::Null);
    let done = events.until("done").await.json();
    let kept = messages(&ada.client, &conversation).await;
    assert_eq!(texts(kept.clone()), ["Tell me", "Another answer"]);
    assert_eq!(
        (kept.last().unwrap(), &done["message"]["model"]),
        (&done["message"], &json!("same-name"))
    );
    // The model was shown the question, and not the answer it replaces.
    let sent = app.upstream.calls().last().unwrap().json();
    assert_eq!(sent["messages"], json!([{"role": "user", "content": "Tell me"}]));
}

#[tokio::test]
async fn answers_are_rendered_safely_for_the_page() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    let pause = Duration::from_millis(200);
    let reply = Reply::events().text("**bold** <script>alert(1)</script>").pause(pause);
    let reply = reply
        .text("\n\n[x](javascript:alert(1)) <img src=x onerror=alert(1)>")
        .pause(pause)
        .text("\n\n```rust\nfn f() {}\n```\n");
    app.upstream.reply(reply.done());
    let body = json!({"content": "Show me", "render": true});
    let events = ada.client.stream(&ask_path(&conversation), &body).await.rest().await;
    let renders: Vec<_> = events.iter().filter(|event| event.name == "render").collect();
    assert!(!renders.is_empty(), "{events:?}");
    let done = events.last().unwrap();
    assert_eq!(done.name, "done");
    for event in renders.into_iter().chain([done]) {
        let html = event.json()["html"].as_str().unwrap().to_owned();
        assert!(html.contains("<strong>bold</strong>"), "{html}");
        for danger in ["<script", "<img", "href=\"javascript", "href=javascript"] {
            assert!(!html.contains(danger), "{html}");
        }
    }
    assert!(done.json()["html"].as_str().unwrap().contains("<code"), "{done:?}");
}

#[tokio::test]
async fn bad_questions_are_refused_before_anything_is_stored() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    for (body, field) in [
        (json!({"content": "  "}), "content"),
        (json!({"content": "Hi", "model": "gpt-99"}), "model"),
        (json!({"content": "Hi", "model": "maple-embed"}), "model"),
    ] {
        let problem = ada
            .client
            .post(&ask_path(&conversation), &body)
            .await
            .problem(422, "invalid_fields");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    assert!(messages(&ada.client, &conversation).await.is_empty());
    assert_eq!(app.upstream.calls().len(), 0);
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
