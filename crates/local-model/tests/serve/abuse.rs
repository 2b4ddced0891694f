//! What a caller can cost others: bytes, time, and work for nobody.

use axum::{
    body::{Body, Bytes},
    http::Request,
};
use serde_json::json;
use tower::ServiceExt;

use crate::support::server::{KEY, TestServer, question};

fn post() -> axum::http::request::Builder {
    Request::post("/v1/chat/completions").header("authorization", format!("Bearer {KEY}"))
}

#[tokio::test]
async fn a_text_that_cannot_fit_is_refused_before_it_is_split() {
    let server = TestServer::start();
    let refused = server.post(&question(&" ".repeat(1_000_000), json!({}))).await;
    let error = &refused.json()["error"];
    assert_eq!(
        (refused.status, &error["code"]),
        (400, &json!("context_length_exceeded"))
    );
    assert!(error["message"].as_str().unwrap().contains("more than 512"), "{error}");
    let many = vec![json!({"role": "user", "content": ""}); 10_000];
    let refused = server.post(&question("", json!({"messages": many}))).await;
    assert_eq!(refused.json()["error"]["code"], "context_length_exceeded");
}

/// Bodies that do not come hold all sixteen places; whoever leaves gives theirs back.
#[tokio::test]
async fn bodies_are_read_in_so_many_places() {
    let server = TestServer::start();
    let mut connections = Vec::new();
    for _ in 0..16 {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let mut one = Box::pin(server.router.clone().oneshot(post().body(body).expect("a request")));
        assert!(futures_util::poll!(&mut one).is_pending());
        connections.push(one);
    }
    let short = question("Hello", json!({"max_tokens": 1}));
    let refused = server.post(&short).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["type"]),
        (429, &json!("rate_limit_error"))
    );
    drop(connections.pop());
    assert_eq!(server.post(&short).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_given_up() {
    let server = TestServer::start();
    let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let request = post().body(body).expect("a request");
    let response = server.router.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_compressed_is_told_as_what_it_is() {
    let server = TestServer::start();
    let broken = Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other(
        "cut",
    ))]));
    let response = server
        .router
        .clone()
        .oneshot(post().body(broken).expect("a request"))
        .await;
    assert_eq!(response.expect("infallible").status(), 400);
    let packed = post()
        .header("content-encoding", "gzip")
        .body(Body::from("x"))
        .expect("a request");
    assert_eq!(
        server
            .router
            .clone()
            .oneshot(packed)
            .await
            .expect("infallible")
            .status(),
        415
    );
}
