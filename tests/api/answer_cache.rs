//! Models' answers are remembered for one person or organisation, shared while they are made, and never half.

mod entry;
mod joining;
mod key;
mod known;
mod shared;
mod sharing;

use std::time::Duration;

use configuration::AnswerCaching;
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;

use crate::support::{
    Answer, Client, Reply, TestApp,
    accounts::register,
    eventually,
    upstream::{completion, delta},
};

const CHAT: &str = "/v1/chat/completions";

async fn start() -> (TestApp, Client) {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    (app, program)
}

/// A request for a repeatable answer.
fn ask(text: &str) -> Value {
    json!({"model": "maple-chat", "temperature": 0, "messages": [{"role": "user", "content": text}]})
}

fn with(mut body: Value, field: &str, value: impl Into<Value>) -> Value {
    body[field] = value.into();
    body
}

fn finish(reason: &str) -> Value {
    let mut chunk = delta("");
    chunk["choices"] = json!([{"index": 0, "delta": {}, "finish_reason": reason}]);
    chunk
}

fn streamed(texts: &[&str]) -> Reply {
    let reply = texts.iter().fold(Reply::events(), |reply, text| reply.text(text));
    reply.event(&finish("stop")).usage(7, 3).done()
}

#[track_caller]
fn cache(answer: &Answer) -> &str {
    answer.header("x-maple-cache")
}

/// The text that a stream's chunks make, and whether a usage chunk came.
fn text_of(events: &str) -> (String, bool) {
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
    let chunks: Vec<Value> = events
        .split("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
        .collect();
    let text = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    (text, chunks.iter().any(|chunk| chunk["usage"].is_object()))
}

#[tokio::test]
async fn a_repeatable_answer_is_given_again_and_costs_nothing() {
    let (app, program) = start().await;
    app.upstream
        .reply(Reply::json(200, &completion("Paris", Some((100, 20)))));
    let first = program.post(CHAT, &ask("Capital?")).await;
    assert_eq!((first.status.as_u16(), cache(&first)), (200, "miss"));
    assert_eq!(first.header("age"), "");
    let second = program.post(CHAT, &ask("Capital?")).await;
    assert_eq!((second.status.as_u16(), cache(&second)), (200, "hit"));
    assert_eq!(
        (second.header("age"), second.header("content-type")),
        ("0", "application/json")
    );
    assert_eq!(first.text(), second.text());
    app.upstream.only_call();

    let rows = eventually("both records", || async {
        let rows = sqlx::query(
            "SELECT cached, outcome, input_tokens, output_tokens, cost_nanodollars, saved_nanodollars
             FROM usage_records ORDER BY created_at, id",
        )
        .fetch_all(&mut app.database().await)
        .await
        .unwrap();
        (rows.len() == 2).then_some(rows)
    })
    .await;
    let figures = |place: usize| -> (bool, &str, [i64; 4]) {
        let row = &rows[place];
        let number = |name| row.get::<i64, _>(name);
        (
            row.get("cached"),
            row.get("outcome"),
            ["input_tokens", "output_tokens", "cost_nanodollars", "saved_nanodollars"].map(number),
        )
    };
    assert_eq!(figures(0), (false, "completed", [100, 20, 450_000, 0]));
    assert_eq!(figures(1), (true, "completed", [100, 20, 0, 450_000]));
}

#[tokio::test]
async fn callers_say_how_fresh_an_answer_must_be() {
    let (app, program) = start().await;
    let asked = async |control: &str| {
        let request = program.request(Method::POST, CHAT).header("cache-control", control);
        let answer = Answer::of(request.json(&ask("When?"))).await;
        answer.header("x-maple-cache").to_owned()
    };
    assert_eq!(asked("no-store").await, "bypass");
    assert_eq!(asked("max-age=60").await, "miss");
    assert_eq!(asked("max-age=60").await, "hit");
    assert_eq!(asked("no-cache").await, "miss");
    assert_eq!(app.upstream.calls().len(), 3);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(asked("max-age=1").await, "miss");
    assert_eq!(asked("").await, "hit");
}

/// Opens a stream and waits for the text it begins with.
async fn reading(
    program: &Client,
    body: &Value,
    begins: &str,
) -> (String, impl futures_util::Stream<Item = String> + use<>) {
    let answer = program.request(Method::POST, CHAT).json(body).send().await.unwrap();
    let status = answer.headers()["x-maple-cache"].to_str().unwrap().to_owned();
    let mut pieces = Box::pin(answer.bytes_stream().map(|piece| {
        piece.map_or_else(
            |_| "broken".to_owned(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }));
    let mut seen = String::new();
    while !seen.contains(begins) {
        seen.push_str(&pieces.next().await.unwrap());
    }
    (status, pieces)
}

#[tokio::test]
async fn on_the_page_regenerate_asks_again_and_asking_does_not() {
    let app = TestApp::start_with(|config| config.models[0].cache = Some(AnswerCaching::All)).await;
    let ada = register(&app).await;
    app.upstream.always(Some(streamed(&["Hel", "lo"])));
    let ask = json!({"content": "What is it?", "model": "maple-chat"});
    let mut asked = Vec::new();
    for _ in 0..2 {
        let conversation = ada.conversation().await;
        let path = format!("/api/conversations/{conversation}/messages");
        let done = ada.client.stream(&path, &ask).await.until("done").await;
        asked.push((conversation, done.json()["message"]["content"].clone()));
    }
    assert_eq!(asked[0].1, "Hello");
    assert_eq!(asked[1].1, "Hello", "from the cache");
    app.upstream.only_call();
    let path = format!("/api/conversations/{}/regenerate", asked[1].0);
    ada.client.stream(&path, &json!({})).await.until("done").await;
    assert_eq!(app.upstream.calls().len(), 2, "whoever asks again wants another answer");
}
