//! Answers that are finished while the database is away.

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::ask_path;
use crate::support::{
    Client, Reply, TestApp,
    accounts::{Person, register},
    eventually,
    postgres::Postgres,
};

/// Asks, and takes the database away in the middle of the answer. Gives the conversation and the last event.
async fn asked_meanwhile(app: &TestApp, ada: &Person, postgres: &mut Postgres) -> (String, Value) {
    let conversation = ada.conversation().await;
    let gate = Arc::new(Semaphore::new(0));
    app.upstream.reply(
        Reply::events()
            .text("The first half")
            .gate(&gate)
            .text(" and the second")
            .done(),
    );
    let mut events = ada
        .client
        .stream(&ask_path(&conversation), &json!({"content": "Tell me"}))
        .await;
    events.until("delta").await;
    postgres.kill();
    gate.add_permits(1);
    let done = events.until("done").await.json();
    (conversation, done)
}

/// Waits until the whole answer is stored, through what is left of the outage.
async fn stored(client: &Client, conversation: &str) -> Value {
    eventually("the whole answer", || async {
        let read = client.get(&format!("/api/conversations/{conversation}")).await;
        if read.status == 503 {
            return None;
        }
        let kept = read.ok(200)["messages"].as_array().unwrap().last().unwrap().clone();
        (kept["status"] == "complete").then_some(kept)
    })
    .await
}

fn spooled(journal: &Path) -> usize {
    std::fs::read_dir(journal.join("answers")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_outlives_a_database_that_is_away_as_it_ends() {
    let (mut postgres, journal) = (Postgres::start().await, tempfile::tempdir().unwrap());
    let directory = journal.path().to_owned();
    let app = TestApp::start_on(&postgres.url(), |config| config.usage.journal_dir = Some(directory)).await;
    let ada = register(&app).await;
    let (conversation, done) = asked_meanwhile(&app, &ada, &mut postgres).await;
    assert_eq!(
        (&done["message"]["content"], &done["reason"]),
        (&json!("The first half and the second"), &json!("stored_later"))
    );
    assert_eq!(spooled(journal.path()), 1);
    for file in std::fs::read_dir(journal.path().join("answers")).unwrap() {
        let raw = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!raw.windows(5).any(|part| part == b"first"), "it lies there sealed");
    }
    postgres.bring_back().await;
    let kept = stored(&ada.client, &conversation).await;
    assert_eq!(
        (&kept["content"], &kept["reason"]),
        (&json!("The first half and the second"), &Value::Null)
    );
    eventually("an empty folder", || async {
        (spooled(journal.path()) == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_put_aside_is_stored_by_the_next_process() {
    let (mut postgres, journal) = (Postgres::start().await, tempfile::tempdir().unwrap());
    let with_journal = |directory: std::path::PathBuf| {
        move |config: &mut configuration::Config| config.usage.journal_dir = Some(directory)
    };
    let app = TestApp::start_on(&postgres.url(), with_journal(journal.path().to_owned())).await;
    let ada = register(&app).await;
    let (conversation, _) = asked_meanwhile(&app, &ada, &mut postgres).await;
    app.stop().await;
    assert_eq!(spooled(journal.path()), 1);
    postgres.bring_back().await;
    let next = TestApp::start_on(&postgres.url(), with_journal(journal.path().to_owned())).await;
    let client = next.client.with(ada.client.bearer().unwrap());
    let kept = stored(&client, &conversation).await;
    assert_eq!(kept["content"], "The first half and the second");
}

/// Without a folder it is kept in memory, and its reader told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_folder_is_tried_on() {
    let mut postgres = Postgres::start().await;
    let app = TestApp::start_on(&postgres.url(), |config| config.usage.journal_dir = None).await;
    let ada = register(&app).await;
    let (conversation, done) = asked_meanwhile(&app, &ada, &mut postgres).await;
    assert_eq!(done["reason"], "not_stored");
    postgres.bring_back().await;
    let kept = stored(&ada.client, &conversation).await;
    assert_eq!(kept["content"], "The first half and the second");
}
