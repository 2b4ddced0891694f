//! Programs' calls to models go past the router. Whoever calls cannot tell: a call that CORS has to see goes by the router,
//! and is answered alike.

use std::{collections::BTreeSet, convert::Infallible, net::SocketAddr, task::Poll, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use mapleai::http::{extract::Bounds, service::Service};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Reply, TestApp, accounts::register};

const CHAT: &str = "/v1/chat/completions";
const ELSEWHERE: &str = "https://elsewhere.test";

async fn start() -> TestApp {
    TestApp::start_with(|config| config.server.cors_origins = vec!["https://app.maple.test".to_owned()]).await
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
}

/// Without what may differ: the time, the id, and what CORS says.
fn comparable(answer: &Answer) -> (u16, BTreeSet<(String, String)>, String) {
    let of_its_way = |name: &str| name == "vary" || name == "date" || name.starts_with("access-control-");
    let headers = answer.headers.iter().filter(|(name, _)| !of_its_way(name.as_str()));
    let headers = headers.map(|(name, value)| {
        let value = if name == "x-request-id" {
            "an id"
        } else {
            value.to_str().unwrap()
        };
        (name.to_string(), value.to_owned())
    });
    (answer.status.as_u16(), headers.collect(), answer.text())
}

/// Sends a request both ways, and gives the status of its answer.
async fn both(app: &TestApp, client: &Client, change: impl Fn(RequestBuilder) -> RequestBuilder) -> u16 {
    both_to(app, client, CHAT, change).await
}

async fn both_to(app: &TestApp, client: &Client, path: &str, change: impl Fn(RequestBuilder) -> RequestBuilder) -> u16 {
    let calls = app.upstream.calls().len();
    let short = Answer::of(change(client.request(Method::POST, path))).await;
    let between = app.upstream.calls().len();
    let routed = Answer::of(change(client.request(Method::POST, path)).header("origin", ELSEWHERE)).await;
    assert_eq!(short.header("vary"), "", "went by the router");
    assert_ne!(routed.header("vary"), "", "did not go by the router");
    assert_eq!(comparable(&short), comparable(&routed));
    assert_eq!(
        between - calls,
        app.upstream.calls().len() - between,
        "calls of the provider"
    );
    short.status.as_u16()
}

#[tokio::test]
async fn answers_and_failures_are_the_same_on_both_ways() {
    let app = start().await;
    let ada = register(&app).await;
    let program = ada.program().await;
    let person = app.client.with(&ada.access_token);
    let with = |body: Value| move |request: RequestBuilder| request.json(&body);
    assert_eq!(both(&app, &program, with(chat("maple-chat"))).await, 200);
    assert_eq!(both(&app, &person, with(chat("maple-chat"))).await, 200);
    let mut streamed = chat("maple-chat");
    streamed["stream"] = true.into();
    assert_eq!(both(&app, &program, with(streamed)).await, 200);
    let embed = json!({"model": "maple-embed", "input": "Hi"});
    // Or the second would be answered by the first.
    let anew = |request: RequestBuilder| request.header("cache-control", "no-store").json(&embed);
    let embedded = both_to(&app, &program, "/v1/embeddings", anew).await;
    assert_eq!(embedded, 200);

    assert_eq!(both(&app, &app.client, with(chat("maple-chat"))).await, 401);
    assert_eq!(
        both(&app, &app.client.with("mk_wrong"), with(chat("maple-chat"))).await,
        401
    );
    assert_eq!(both(&app, &program, with(chat("no-such"))).await, 404);
    assert_eq!(both(&app, &program, with(json!({"model": "maple-chat"}))).await, 400);
    assert_eq!(both(&app, &program, with(json!([]))).await, 400);
    let plain = |request: RequestBuilder| request.header("content-type", "text/plain").body("{}");
    assert_eq!(both(&app, &program, plain).await, 415);
    let json = |body: String| {
        move |request: RequestBuilder| request.header("content-type", "application/json").body(body.clone())
    };
    assert_eq!(both(&app, &program, json("{\"model\":".to_owned())).await, 400);
    assert_eq!(both(&app, &program, json("x".repeat(64 * 1024 + 1))).await, 413);
    let empty = |request: RequestBuilder| request.header("content-type", "application/json");
    assert_eq!(both(&app, &program, empty).await, 400);

    for (status, told) in [(422, 422), (429, 429), (500, 502), (401, 502)] {
        for _ in 0..2 {
            let refusal = Reply::whole(status, &[("retry-after", "7")], r#"{"error":{"message":"no"}}"#);
            app.upstream.reply(refusal);
        }
        assert_eq!(
            both(&app, &program, with(chat("maple-chat"))).await,
            told,
            "upstream said {status}"
        );
    }
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together_and_bounded() {
    let app = start().await;
    let program = register(&app).await.program().await;
    let send = |text: String| {
        let request = program
            .request(Method::POST, CHAT)
            .header("content-type", "application/json");
        // Without a length: what is allowed shows only while it comes.
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            text.as_bytes().chunks(1_000).map(|piece| Ok(piece.to_vec())).collect();
        let pieces = futures_util::stream::iter(pieces);
        Answer::of(request.body(reqwest::Body::wrap_stream(pieces)))
    };
    let mut body = chat("maple-chat");
    body["padding"] = "x".repeat(50_000).into();
    send(body.to_string()).await.ok(200);
    assert_eq!(app.upstream.only_call().json()["padding"], body["padding"]);
    body["padding"] = "x".repeat(70_000).into();
    let refused = send(body.to_string()).await.openai_error(413, "payload_too_large");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("65536 bytes"), "{message}");
    assert_eq!(app.upstream.calls().len(), 1);
}

#[tokio::test]
async fn calls_are_counted_under_their_route() {
    let app = start().await;
    let program = register(&app).await.program().await;
    let count = async |status: u16| {
        let text = app.client.get("/metrics").await.text();
        let series = format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"POST\",http_route=\"{CHAT}\",http_response_status_code=\"{status}\"}}"
        );
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map_or(0, |count| count.trim().parse::<u64>().unwrap())
    };
    let (good, bad) = (count(200).await, count(404).await);
    program.post(CHAT, &chat("maple-chat")).await.ok(200);
    program
        .post(CHAT, &chat("no-such"))
        .await
        .openai_error(404, "model_not_found");
    // Other tests of this process may call, too.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(count(200).await > good && count(404).await > bad);
}

#[tokio::test]
async fn a_call_that_panics_is_answered_and_leaves_nothing_behind() {
    let app = start().await;
    let program = register(&app).await.program().await;
    let (server, key) = (&app.server, program.bearer().unwrap());
    let service = Service::new(
        Router::new(),
        server.edge().clone(),
        server.services().completions.clone(),
        Bounds {
            bytes: 65_536,
            time: Duration::from_secs(30),
        },
        false,
    );
    let pieces = futures_util::stream::poll_fn(|_| -> Poll<Option<Result<Bytes, Infallible>>> { panic!("on purpose") });
    let request = Request::post(CHAT)
        .header("host", "maple.test")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"))
        .header("x-request-id", "of-the-one-that-panics")
        .body(Body::from_stream(pieces))
        .unwrap();
    let response = service.answer(request, SocketAddr::from(([127, 0, 0, 1], 1))).await;
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["x-request-id"], "of-the-one-that-panics");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let told = String::from_utf8_lossy(&body);
    assert!(!told.contains("purpose"), "{told}");
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(told["error"]["type"], "server_error", "{told}");
    program.post(CHAT, &chat("maple-chat")).await.ok(200);
}
