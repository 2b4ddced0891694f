//! Spans reach a collector, and callers' traces go on at the provider.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, routing::post};
use http::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{Answer, TestApp, accounts::register};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let received = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&received);
    let take = move |body: Bytes| {
        kept.lock().unwrap().extend_from_slice(&body);
        async {}
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, received)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    (0..hexadecimal.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_trace_goes_through_to_the_provider_and_the_collector() {
    let (url, received) = collector().await;
    let app = TestApp::start_with(|config| config.traces.endpoint = Some(url.parse().unwrap())).await;
    let program = register(&app).await.program().await;
    let ask = json!({"model": "maple-chat", "stream": true, "messages": []});
    let request = program
        .request(Method::POST, "/v1/chat/completions")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .json(&ask);
    assert!(Answer::of(request).await.text().contains("[DONE]"));
    let call = app.upstream.only_call();
    let sent = &call.headers.iter().find(|(name, _)| name == "traceparent").unwrap().1;
    assert!(
        sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-01"),
        "{sent}"
    );
    assert!(!sent.contains(PARENT), "the provider's parent is our span: {sent}");
    let ours = sent.split('-').nth(2).unwrap().to_owned();
    app.stop().await;
    let spans = received.lock().unwrap().clone();
    for wanted in [
        "POST /v1/chat/completions",
        "chat maple-chat",
        "gen_ai.usage.output_tokens",
        "mapleai",
    ] {
        assert!(contains(&spans, wanted.as_bytes()), "{wanted}");
    }
    for id in [TRACE, PARENT, &ours] {
        assert!(contains(&spans, &bytes_of(id)), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_the_callers_own_trace_is_passed_on() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    let traceparent = format!("00-{TRACE}-{PARENT}-00");
    let request = program
        .request(Method::POST, "/v1/chat/completions")
        .header("traceparent", &traceparent)
        .json(&json!({"model": "maple-chat", "messages": []}));
    Answer::of(request).await.ok(200);
    let headers = app.upstream.only_call().headers;
    assert!(
        headers.contains(&("traceparent".to_owned(), traceparent)),
        "{headers:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_costs_nothing_but_spans() {
    let app = TestApp::start_with(|config| config.traces.endpoint = Some("http://127.0.0.1:1".parse().unwrap())).await;
    let program = register(&app).await.program().await;
    let ask = json!({"model": "maple-chat", "messages": []});
    program.post("/v1/chat/completions", &ask).await.ok(200);
    let stopping = std::time::Instant::now();
    app.stop().await;
    assert!(
        stopping.elapsed() < std::time::Duration::from_secs(5),
        "{:?}",
        stopping.elapsed()
    );
}

/// A caller's flag, and the trace id that it chose, decide nothing about what our collector is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_a_trace_is_kept_is_not_the_callers_to_say() {
    let (url, received) = collector().await;
    let app = TestApp::start_with(|config| {
        config.traces.endpoint = Some(url.parse().unwrap());
        config.traces.sample_percent = 0;
    })
    .await;
    let program = register(&app).await.program().await;
    let request = program
        .request(Method::POST, "/v1/chat/completions")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .json(&json!({"model": "maple-chat", "messages": []}));
    Answer::of(request).await.ok(200);
    let sent = app.upstream.only_call().header("traceparent").to_owned();
    assert!(
        sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"),
        "{sent}"
    );
    app.stop().await;
    assert!(received.lock().unwrap().is_empty(), "nothing was to be kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_trace_is_not_passed_on() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    for bad in [
        format!("no trace; <script>{}", "A".repeat(3_000)),
        format!("00-{TRACE}-{PARENT}-01-more"),
    ] {
        let request = program
            .request(Method::POST, "/v1/chat/completions")
            .header("traceparent", bad);
        Answer::of(request.json(&json!({"model": "maple-chat", "messages": []})))
            .await
            .ok(200);
    }
    let calls = app.upstream.calls();
    assert!(
        calls.iter().all(|call| call.header("traceparent").is_empty()),
        "{calls:?}"
    );
}
