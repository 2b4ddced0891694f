//! What a call means: which names are read, what is counted, and what it costs.

mod counts;
mod estimates;
mod field_names;
mod page;
mod prices;
mod reports;

use serde_json::{Value, json};
use sqlx::Row;

use crate::support::{Client, TestApp, accounts::register, eventually};

const CHAT: &str = "/v1/chat/completions";

async fn start() -> (TestApp, Client) {
    let app = TestApp::start_with(|config| config.server.body_limit = 4 << 20).await;
    let program = register(&app).await.program().await;
    (app, program)
}

fn ask(text: &str, stream: bool) -> Value {
    json!({"model": "maple-chat", "messages": [{"role": "user", "content": text}], "stream": stream})
}

/// A record, as far as these tests look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    outcome: String,
    input: i64,
    output: i64,
    cached_input: i64,
    estimated: bool,
    cost: i64,
}

impl Record {
    fn tokens(&self) -> (i64, i64, bool) {
        (self.input, self.output, self.estimated)
    }
}

/// Waits for so many records, and gives the last.
async fn record(app: &TestApp, count: usize) -> Record {
    let rows = eventually("the usage records", || async {
        let rows = sqlx::query(
            "SELECT outcome, input_tokens, output_tokens, cached_input_tokens, estimated, cost_nanodollars
             FROM usage_records ORDER BY created_at, id",
        )
        .fetch_all(&mut app.database().await)
        .await
        .unwrap();
        (rows.len() >= count).then_some(rows)
    })
    .await;
    assert_eq!(rows.len(), count, "one record for each call");
    let row = rows.last().unwrap();
    Record {
        outcome: row.get("outcome"),
        input: row.get("input_tokens"),
        output: row.get("output_tokens"),
        cached_input: row.get("cached_input_tokens"),
        estimated: row.get("estimated"),
        cost: row.get("cost_nanodollars"),
    }
}
