//! Streams go chunk by chunk, and end when either side does.

mod revoked;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    Client, Reply, TestApp,
    accounts::register,
    upstream::{completion, delta},
};

/// How soon the upstream must notice that nobody waits any more.
const CANCELLED_WITHIN: Duration = Duration::from_secs(1);

fn ask(stream: bool) -> Value {
    json!({"model": "maple-chat", "messages": [{"role": "user", "content": "Hi"}], "stream": stream})
}

async fn start() -> (TestApp, Client) {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    (app, program)
}

#[tokio::test]
async fn each_chunk_arrives_before_the_next_is_sent() {
    let (app, program) = start().await;
    let gate = Arc::new(Semaphore::new(0));
    let texts = ["one", "two", "three"];
    let reply = texts
        .iter()
        .fold(Reply::events(), |reply, text| reply.text(text).gate(&gate));
    app.upstream.reply(reply.done());
    let mut events = program.stream("/v1/chat/completions", &ask(true)).await;
    for text in texts {
        // The upstream holds the next chunk back until this one has been read here.
        assert_eq!(events.next().await.unwrap().json(), delta(text));
        gate.add_permits(1);
    }
    assert_eq!(events.next().await.unwrap().data, "[DONE]");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn streams_are_marked_as_such() {
    let (_app, program) = start().await;
    let request = program
        .request(http::Method::POST, "/v1/chat/completions")
        .header("accept-encoding", "gzip, br");
    let response = request.json(&ask(true)).send().await.unwrap();
    let header = |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-accel-buffering"), "no");
    assert_eq!(header("content-encoding"), "", "a compressor would hold chunks back");
    assert_eq!(header("x-request-id").len(), 36);
}

#[tokio::test]
async fn a_client_that_leaves_mid_stream_cancels_the_upstream() {
    let (app, program) = start().await;
    app.upstream.reply(Reply::events().text("Hello").stall());
    let mut events = program.stream("/v1/chat/completions", &ask(true)).await;
    events.next().await.unwrap();
    assert_eq!(app.upstream.only_call().hung_up, None);
    let left = Instant::now();
    drop(events);
    let noticed = app.upstream.hung_up().await;
    assert!(noticed - left < CANCELLED_WITHIN, "{:?}", noticed - left);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_token_cancels_the_upstream() {
    for stream in [true, false] {
        let (app, program) = start().await;
        app.upstream.reply(Reply::silence());
        let request = program
            .request(http::Method::POST, "/v1/chat/completions")
            .json(&ask(stream));
        let asking = tokio::spawn(request.send());
        app.upstream.called(1).await;
        let left = Instant::now();
        asking.abort();
        let noticed = app.upstream.hung_up().await;
        assert!(
            noticed - left < CANCELLED_WITHIN,
            "streamed {stream}: {:?}",
            noticed - left
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_a_whole_answer_cancels_the_upstream() {
    let (app, program) = start().await;
    // The head has come, and half of the body.
    let body = completion("Hello there", None).to_string();
    app.upstream
        .reply(Reply::promising(body.len(), body[..body.len() / 2].to_owned()).stall());
    let asking = tokio::spawn(
        program
            .request(http::Method::POST, "/v1/chat/completions")
            .json(&ask(false))
            .send(),
    );
    app.upstream.called(1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let left = Instant::now();
    asking.abort();
    let noticed = app.upstream.hung_up().await;
    assert!(noticed - left < CANCELLED_WITHIN, "{:?}", noticed - left);
}

#[tokio::test]
async fn others_go_on_when_one_leaves() {
    let (app, program) = start().await;
    let gate = Arc::new(Semaphore::new(0));
    app.upstream.reply(Reply::events().text("one").stall());
    let mut leaving = program.stream("/v1/chat/completions", &ask(true)).await;
    leaving.next().await.unwrap();
    app.upstream
        .reply(Reply::events().text("one").gate(&gate).text("two").done());
    let mut staying = program.stream("/v1/chat/completions", &ask(true)).await;
    staying.next().await.unwrap();
    drop(leaving);
    app.upstream.hung_up().await;
    gate.add_permits(1);
    assert_eq!(staying.next().await.unwrap().json(), delta("two"));
    assert_eq!(staying.next().await.unwrap().data, "[DONE]");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_ends_the_stream_with_an_error() {
    let (app, program) = start().await;
    app.upstream
        .reply(Reply::events().text("Hello").text(" th").break_off());
    let seen = program.stream("/v1/chat/completions", &ask(true)).await.rest().await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!(seen[1].json(), delta(" th"));
    let error = seen[2].json();
    assert_eq!(error["error"]["code"], "provider_error", "{error}");
    assert_eq!(error["error"]["type"], "server_error");

    // Half an event is not passed on as if it were one.
    app.upstream.reply(
        Reply::events()
            .text("Hello")
            .chunk("data: {\"choices\":[{\"delta\":{\"cont")
            .break_off(),
    );
    let mut events = program.stream("/v1/chat/completions", &ask(true)).await;
    let seen = events.rest().await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[1].json()["error"]["code"], "provider_error");
    // The connection to the gateway is still good.
    program.get("/v1/models").await.ok(200);
}

#[tokio::test]
async fn a_whole_answer_that_breaks_off_is_a_bad_gateway() {
    let (app, program) = start().await;
    app.upstream.reply(Reply::promising(500, "{\"id\":").break_off());
    program
        .post("/v1/chat/completions", &ask(false))
        .await
        .openai_error(502, "provider_error");
}

#[tokio::test]
async fn a_long_stream_arrives_whole() {
    let (app, program) = start().await;
    let reply = (0..500).fold(Reply::events(), |reply, index| {
        reply.text(&format!("{index} {}", "x".repeat(200)))
    });
    app.upstream.reply(reply.usage(5, 500).done());
    let seen = program.stream("/v1/chat/completions", &ask(true)).await.rest().await;
    assert_eq!(seen.len(), 501);
    for (index, event) in seen[..500].iter().enumerate() {
        let text = event.json()["choices"][0]["delta"]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(text.starts_with(&format!("{index} ")), "{text}");
    }
}
