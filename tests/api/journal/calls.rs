//! Calls that were under way when the process was killed are charged for what they had delivered.

use std::{path::Path, time::Duration};

use serde_json::json;
use sqlx::{FromRow, PgConnection};
use tempfile::TempDir;

use super::{NEVER, journalled, program};
use crate::support::{Client, FakeUpstream, Reply, database::TestDatabase, eventually, served::Process};

#[derive(Debug, FromRow, PartialEq)]
struct Recorded {
    outcome: String,
    input_tokens: i64,
    output_tokens: i64,
    estimated: bool,
}

async fn recorded(database: &mut PgConnection) -> Vec<Recorded> {
    sqlx::query_as("SELECT outcome, input_tokens, output_tokens, estimated FROM usage_records ORDER BY output_tokens")
        .fetch_all(database)
        .await
        .unwrap()
}

/// A word that is estimated as one token or more.
const WORDS: &str = "delivered and read by somebody ";

fn ask() -> serde_json::Value {
    json!({"model": "maple-chat", "messages": [{"role": "user", "content": "Write for a long time."}], "stream": true})
}

/// Waits until the marks in the journal are so many bytes.
async fn marked(folder: &Path, at_least: u64) {
    let journal = folder.join(".local/journal");
    eventually("the marks", || async {
        let entries = std::fs::read_dir(&journal).ok()?;
        let calls = entries
            .flatten()
            .filter(|one| one.path().extension().is_some_and(|kind| kind == "calls"));
        let bytes: u64 = calls.map(|one| one.metadata().map_or(0, |file| file.len())).sum();
        (bytes >= at_least).then_some(())
    })
    .await;
}

async fn reading(program: &Client, upstream: &FakeUpstream, words: usize) -> crate::support::client::Events {
    let mut reply = Reply::events();
    for _ in 0..words {
        reply = reply.text(WORDS);
    }
    upstream.reply(reply.stall());
    let mut events = program.stream("/v1/chat/completions", &ask()).await;
    for _ in 0..words {
        events.next().await.unwrap();
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_delivered_before_a_kill_is_charged_once() {
    let database = TestDatabase::create().await;
    let upstream = FakeUpstream::start().await;
    let folder = TempDir::new().unwrap();
    let mut process = Process::start(folder.path(), &database.url, &upstream, &[NEVER]);
    let program = program(&process.client).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(reading(&program, &upstream, 40).await);
    }
    // One of which nothing has come, and one that ended by itself and is recorded as it was.
    upstream.reply(Reply::silent());
    let silent = program.clone();
    let waiting = tokio::spawn(async move {
        silent
            .request(http::Method::POST, "/v1/chat/completions")
            .json(&ask())
            .send()
            .await
    });
    upstream.reply(Reply::events().text("short").usage(3, 2).done());
    eventually("the silent call", || async {
        (upstream.calls().len() >= 6).then_some(())
    })
    .await;
    let mut whole = program.stream("/v1/chat/completions", &ask()).await;
    whole.rest().await;
    marked(folder.path(), 6 * 512).await;
    // At most one mark a second: all of it is in the next.
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    process.kill();
    drop((streams, waiting));

    let process = Process::start(folder.path(), &database.url, &upstream, &[NEVER]);
    let mut connection = database.connection().await;
    let records = eventually("the records", || async {
        let found = recorded(&mut database.connection().await).await;
        (found.len() >= 7).then_some(found)
    })
    .await;
    let told = process.told("usage records of a process that died are in the database");
    assert!(told["records"].is_u64(), "{told}");
    eventually("the end of the replay", || async {
        (journalled(&folder.path().join(".local/journal")) == 0).then_some(())
    })
    .await;
    process.stop().await;
    let after = recorded(&mut connection).await;
    assert_eq!(after, records, "filed once");
    let (delivered, others): (Vec<_>, Vec<_>) = after.iter().partition(|one| one.output_tokens > 100);
    assert_eq!(delivered.len(), 5, "{after:?}");
    assert!(
        delivered
            .iter()
            .all(|one| one.outcome == "cancelled" && one.estimated && one.input_tokens > 0),
        "{after:?}"
    );
    let nothing = Recorded {
        outcome: "cancelled".to_owned(),
        input_tokens: 0,
        output_tokens: 0,
        estimated: false,
    };
    let short = Recorded {
        outcome: "completed".to_owned(),
        input_tokens: 3,
        output_tokens: 2,
        estimated: false,
    };
    assert_eq!(others, [&nothing, &short], "who got nothing is charged nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_charges_what_was_delivered_by_then() {
    let database = TestDatabase::create().await;
    let upstream = FakeUpstream::start().await;
    let folder = TempDir::new().unwrap();
    let mut process = Process::start(folder.path(), &database.url, &upstream, &[NEVER]);
    let program = program(&process.client).await;
    let stream = reading(&program, &upstream, 40).await;
    process.signal("TERM");
    process.told("stopping: readiness says no, connections are still accepted");
    process.signal("TERM");
    process.ended().await;
    drop(stream);
    let _next = Process::start(folder.path(), &database.url, &upstream, &[NEVER]);
    let records = eventually("the record", || async {
        let found = recorded(&mut database.connection().await).await;
        (!found.is_empty()).then_some(found)
    })
    .await;
    assert!(records.len() == 1 && records[0].output_tokens > 100, "{records:?}");
}
