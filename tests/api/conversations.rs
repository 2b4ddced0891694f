//! Conversations and their answers, which are kept whatever happens to the reader.

mod answering;
mod at_once;
mod breaking_off;
mod endings;
mod outage;

use serde_json::{Value, json};

use crate::support::{
    Client, TestApp,
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
