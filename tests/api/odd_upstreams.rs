//! Model servers and proxies that do what the API's document does not say: what a program, a person and the ledger get.

mod asking;
mod early;
mod ends;
mod forms;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Client, Reply, TestApp,
    accounts::{Person, register},
    eventually,
};

const CHAT: &str = "/v1/chat/completions";
/// Far below every limit of the tests' provider.
const SOON: Duration = Duration::from_secs(4);

struct World {
    app: TestApp,
    ada: Person,
    program: Client,
}

async fn world() -> World {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let program = ada.program().await;
    World { app, ada, program }
}

fn ask(stream: bool) -> Value {
    json!({"model": "maple-chat", "messages": [{"role": "user", "content": "Hi"}], "stream": stream})
}

/// The same, so that its answer may be remembered and shared.
fn repeatable(stream: bool, number: usize) -> Value {
    let mut body = ask(stream);
    body["temperature"] = json!(0);
    body["messages"][0]["content"] = json!(format!("number {number}"));
    body
}

fn finish() -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
}

impl World {
    /// Outcomes and counts of all records, in order of their making, once there are so many.
    async fn records(&self, count: usize) -> Vec<(String, i64, i64)> {
        eventually("the records", || async {
            let records: Vec<(String, i64, i64)> = sqlx::query_as(
                "SELECT outcome, input_tokens, output_tokens FROM usage_records ORDER BY created_at, id",
            )
            .fetch_all(&mut self.app.database().await)
            .await
            .unwrap();
            (records.len() >= count).then_some(records)
        })
        .await
    }

    /// Asks on the page. The last event's name, and the stored answer.
    async fn on_the_page(&self) -> (String, Value) {
        let conversation = self.ada.conversation().await;
        let path = format!("/api/conversations/{conversation}");
        let mut events = self
            .ada
            .client
            .stream(&format!("{path}/messages"), &json!({"content": "Hi"}))
            .await;
        let last = events.rest().await.pop().unwrap();
        let kept = self.ada.client.get(&path).await.ok(200)["messages"][1].clone();
        (last.name, kept)
    }

    /// As a stream, with and without its answer being kept for others: both must tell the same.
    async fn streamed(&self, reply: &Reply, number: usize) -> String {
        let mut texts = Vec::new();
        for body in [ask(true), repeatable(true, number)] {
            self.app.upstream.reply(reply.clone());
            let answer = self.program.post(CHAT, &body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            texts.push(answer.text());
        }
        assert_eq!(texts[0], texts[1], "with the cache as without");
        texts.remove(0)
    }
}

fn last_event(text: &str) -> Value {
    let data = text.trim_end().rsplit("data: ").next().unwrap();
    serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {text}"))
}
