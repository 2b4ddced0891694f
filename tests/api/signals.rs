//! Signals that are not SIGTERM.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{
    FakeUpstream, Reply,
    accounts::{Person, fresh_email, registration},
    database::TestDatabase,
    served::Process,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_goes_away_drains_and_signals_that_mean_nothing_change_nothing() {
    let database = TestDatabase::create().await;
    let (folder, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
    let variables = [("MAPLE__SERVER__DRAIN_DELAY", "0s")];
    let mut process = Process::start(folder.path(), &database.url, &upstream, &variables);
    let made = process
        .client
        .post("/api/auth/register", &registration(&fresh_email()))
        .await;
    let program = Person::of(&process.client, &made.ok(201)).program().await;
    let gate = Arc::new(Semaphore::new(0));
    upstream.reply(Reply::events().text("Hel").gate(&gate).text("lo").usage(3, 2).done());
    let question = json!({"model": "maple-chat", "stream": true, "messages": []});
    let mut events = program.stream("/v1/chat/completions", &question).await;
    events.next().await.unwrap();
    for signal in ["QUIT", "USR1", "USR2"] {
        process.signal(signal);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.client.get("/api/health?probe=liveness").await.ok(200);
    process.signal("HUP");
    process.told("no new connections");
    gate.add_permits(1);
    let rest = events.rest().await;
    assert!(!rest.is_empty(), "the stream is served to its end");
    process.ended().await;
}
