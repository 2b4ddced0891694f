//! Answers as they should be: streamed, kept, rendered, and given anew.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{ask_path, messages, start};
use crate::support::Reply;

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
        (
            &done["usage"]["input_tokens"],
            &done["usage"]["output_tokens"],
            &done["html"]
        ),
        (&json!(11), &json!(2), &Value::Null)
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
