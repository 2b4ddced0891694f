//! Titles of conversations with a local model.

use serde_json::{Value, json};

use super::{LONG, Local, MODEL};
use crate::support::{
    FakeUpstream, Reply,
    accounts::{Person, register},
    eventually,
    upstream::completion,
};

/// Begins a conversation, and gives it with the end of its first answer.
async fn asked(person: &Person) -> (String, Value) {
    let made = person
        .client
        .post("/api/conversations", &json!({"model": MODEL}))
        .await
        .ok(201);
    let id = made["id"].as_str().unwrap().to_owned();
    let path = format!("/api/conversations/{id}/messages");
    let mut events = person.client.stream(&path, &json!({"content": "Good morning!"})).await;
    (id, events.until("done").await.json())
}

#[tokio::test]
async fn the_model_gives_titles_and_what_stands_in_for_it_does_not() {
    let local = Local::start(LONG).await;
    let person = register(&local.app).await;
    let (canned, done) = asked(&person).await;
    assert_eq!(done["titling"], Value::Null, "{done}");

    let server = FakeUpstream::start().await;
    local.ready_at(&server).await;
    server.reply(Reply::events().text("Good morning to you.").usage(9, 5).done());
    server.reply(Reply::json(200, &completion("Greetings", Some((30, 2)))));
    let (answered, done) = asked(&person).await;
    assert_eq!(done["titling"], true, "{done}");
    let titles = async || {
        let listed = person.client.get("/api/conversations").await.ok(200);
        [&canned, &answered].map(|id| {
            let mut all = listed["data"].as_array().unwrap().iter();
            all.find(|one| one["id"] == **id).unwrap()["title"].clone()
        })
    };
    eventually("the title", || async {
        (titles().await == [json!("Good morning!"), json!("Greetings")]).then_some(())
    })
    .await;
}
