//! What a request must be like before anybody asks whose it is.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Answer, TestApp, accounts::register};

/// The answer to bytes that no client of ours would send. The connection is to be closed after it.
async fn raw(app: &TestApp, request: &str) -> String {
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A web page whose name is made to lead to a developer's machine is of the same origin as what it reaches there.
#[tokio::test]
async fn in_development_a_name_that_was_made_to_lead_here_is_not_served() {
    let app = TestApp::start().await;
    let key = register(&app).await.create_key().await.1;
    for request in [
        "GET /api/models HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /sign-in HTTP/1.1\r\nHost: rebound.example:3000\r\nConnection: close\r\n\r\n".to_owned(),
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: rebound.example\r\nAuthorization: Bearer {key}\r\nContent-Length: 2\r\n\
             Connection: close\r\n\r\n{{}}"
        ),
    ] {
        let answer = raw(&app, &request).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    }
    let own = raw(
        &app,
        "GET /api/models HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(own.starts_with("HTTP/1.1 200"), "{own}");
}

/// RFC 9112 3.2.
#[tokio::test]
async fn a_request_has_one_host() {
    let app = TestApp::start().await;
    for (version, hosts, status) in [
        ("1.1", "Host: maple.test\r\n", 200),
        ("1.1", "", 400),
        ("1.1", "Host: maple.test\r\nHost: evil.example\r\n", 400),
        ("1.1", "Host: maple.test\r\nHost: maple.test\r\n", 400),
        ("1.1", "Host: maple test\r\n", 400),
        ("1.1", "Host: user@maple.test\r\n", 400),
        ("1.0", "", 200),
        ("1.0", "Host: a\r\nHost: b\r\n", 400),
    ] {
        for path in ["/api/models", "/sign-in"] {
            let answer = raw(
                &app,
                &format!("GET {path} HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n"),
            )
            .await;
            let said = answer.split(' ').nth(1).unwrap_or_default().to_owned();
            assert_eq!(said, status.to_string(), "{version} {hosts:?} {path}: {answer}");
            assert!(answer.to_lowercase().contains("x-request-id:"), "{answer}");
        }
    }
    // A call that does not go by the router, in its dialect.
    let key = register(&app).await.create_key().await.1;
    let call = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {key}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    let answer = raw(&app, &call).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(
        answer.contains(r#""type":"invalid_request_error""#) && answer.contains("no Host"),
        "{answer}"
    );
    assert_eq!(app.upstream.calls().len(), 0);
}

/// ollama #12386, new-api #4913: clients that compress were told that their JSON was wrong.
#[tokio::test]
async fn a_compressed_body_is_refused_in_so_many_words_and_not_read() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    let body = json!({"model": "maple-chat", "messages": []}).to_string();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(body.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    for coding in ["gzip", "zstd", "br", "deflate", "identity, gzip", "x-unknown"] {
        for origin in [None, Some("https://elsewhere.test")] {
            let mut request = program
                .request(Method::POST, "/v1/chat/completions")
                .header("content-type", "application/json")
                .header("content-encoding", coding);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let answer = Answer::of(request.body(gzip.clone())).await;
            answer.openai_error(415, "unsupported_content_encoding");
            assert_eq!(answer.header("accept-encoding"), "identity");
            assert!(answer.text().contains("compressed"), "{}", answer.text());
        }
    }
    let request = app
        .client
        .request(Method::POST, "/api/auth/login")
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(gzip);
    let answer = Answer::of(request).await;
    answer.problem(415, "unsupported_content_encoding");
    assert_eq!(answer.header("accept-encoding"), "identity");
    let plain = program
        .request(Method::POST, "/v1/chat/completions")
        .header("content-type", "application/json")
        .header("content-encoding", "identity")
        .body(body);
    Answer::of(plain).await.ok(200);
    // Not a byte of it is waited for.
    let announced = "POST /api/auth/login HTTP/1.1\r\nHost: maple.test\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\n\
                     Content-Length: 1000\r\nConnection: close\r\n\r\n";
    assert!(raw(&app, announced).await.starts_with("HTTP/1.1 415"));
}

/// Whatever encoding is asked for, the document is compressed no second time, and told by its tag.
#[tokio::test]
async fn the_document_is_made_once() {
    let app = TestApp::start().await;
    let ask = |accept: &'static str, tag: Option<String>| {
        let request = app
            .client
            .request(Method::GET, "/api/openapi.json")
            .header("accept-encoding", accept);
        Answer::of(match tag {
            Some(tag) => request.header("if-none-match", tag),
            None => request,
        })
    };
    let plain = ask("identity", None).await;
    assert_eq!(plain.header("content-encoding"), "");
    let tag = plain.header("etag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    for (accept, encoding) in [
        ("br", "br"),
        ("gzip", "gzip"),
        ("gzip, br", "br"),
        ("deflate", ""),
        ("zstd", ""),
    ] {
        let answer = ask(accept, None).await;
        assert_eq!(answer.header("content-encoding"), encoding, "{accept}");
        assert_eq!(answer.header("etag"), tag);
        assert!(
            answer.header("vary").contains("accept-encoding"),
            "{}",
            answer.header("vary")
        );
    }
    let unchanged = ask("br", Some(tag.clone())).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), tag);
}
