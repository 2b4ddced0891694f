//! Requests, whole answers and lists of models.

use std::{thread, time::Duration};

use http::{HeaderValue, StatusCode};
use tokio::time::timeout;

use super::{LONG, asked, config, failure, provider, whole};
use crate::{
    Provider, ProviderError,
    exchange::{
        LARGEST_LIST,
        tests::upstream::{serve, watch},
    },
    openai::OpenAiProvider,
};

#[tokio::test]
async fn requests_go_out_as_they_are() {
    let (address, mut received) = watch(|_, connection| {
        let request = connection.request();
        connection.answer("200 OK", "", "{}");
        request
    });
    let mut request = asked(false);
    request.traceparent = Some(HeaderValue::from_static("00-1-2-01"));
    provider(address).send(request).await.ok().unwrap();
    let received = received.recv().await.unwrap().unwrap();
    assert_eq!(received.body, &asked(false).body[..]);
    assert!(
        received.head.starts_with("POST /v1/chat/completions HTTP/1.1\n"),
        "{}",
        received.head
    );
    for line in [
        format!("host: {address}"),
        "authorization: Bearer sk-upstream".to_owned(),
        "content-type: application/json".to_owned(),
        "x-team: maple".to_owned(),
        "accept-encoding: identity".to_owned(),
        "traceparent: 00-1-2-01".to_owned(),
    ] {
        let found = received.head.lines().filter(|found| **found == line).count();
        assert_eq!(found, 1, "{line} in {}", received.head);
    }
}

#[tokio::test]
async fn answers_come_back_as_they_are_with_the_callers_headers_only() {
    const BODY: &str = "{ \"x_unknown\" : {\"a\":[null]},  \"choices\":[] }";
    let address = serve(|_, connection| {
        connection.request();
        let headers = "content-type: application/json\r\nx-request-id: req_1\r\nopenai-version: 2\r\n\
                       openai-processing-ms: 7\r\nopenai-organization: ours\r\nopenai-project: proj_1\r\n\
                       x-ratelimit-limit-requests: 9\r\nset-cookie: a=b\r\nserver: x\r\nkeep-alive: timeout=5\r\n";
        connection.answer("200 OK", headers, BODY);
    });
    let (status, headers, body) = whole(&provider(address), false).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, BODY.as_bytes()));
    let mut headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    assert_eq!(
        headers,
        [
            "content-type: application/json",
            "openai-processing-ms: 7",
            "openai-version: 2",
            "x-upstream-request-id: req_1"
        ]
    );
}

#[tokio::test]
async fn a_body_in_many_pieces_is_put_together() {
    let address = serve(|_, connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        for piece in ["{\"a\":", "\"", "b", "\"}"] {
            connection.chunk(piece);
            thread::sleep(Duration::from_millis(5));
        }
        connection.end_stream();
    });
    assert_eq!(&whole(&provider(address), false).await.2[..], b"{\"a\":\"b\"}");
}

#[tokio::test]
async fn refusals_pass_and_failures_do_not() {
    const BODY: &str = "{\"error\":{\"message\":\"slow down\"}}";
    let address = serve(|_, connection| {
        for status in ["400 Bad Request", "429 Too Many Requests"] {
            connection.request();
            connection.answer(status, "retry-after: 7\r\n", BODY);
        }
        for status in [
            "401 Unauthorized",
            "403 Forbidden",
            "302 Found",
            "500 Internal Server Error",
        ] {
            connection.request();
            connection.answer(status, "location: /\r\n", BODY);
        }
    });
    let provider = provider(address);
    for (code, stream) in [(400, false), (429, true)] {
        let (status, headers, body) = whole(&provider, stream).await;
        assert_eq!((status.as_u16(), &body[..]), (code, BODY.as_bytes()));
        assert_eq!(headers["retry-after"], "7");
    }
    for (code, stream) in [(401, false), (403, true), (302, false), (500, true)] {
        let error = failure(&provider, stream).await;
        assert!(
            matches!(error, ProviderError::Status(status) if status.as_u16() == code),
            "{code}: {error:?}"
        );
    }
}

#[tokio::test]
async fn refusals_name_no_key_and_no_organisation_of_ours() {
    let address = serve(|_, connection| {
        connection.request();
        let expected =
            r#"{"error":{"message":"limit reached in org-OPERATOR for sk-upstream","type":"tokens","code":"c"}}"#;
        connection.answer("429 Too Many Requests", "", expected);
    });
    let (status, _, body) = whole(&provider(address), false).await;
    let expected = r#"{"error":{"message":"limit reached in [redacted] for [redacted]","type":"tokens","code":"c"}}"#;
    assert_eq!((status.as_u16(), &body[..]), (429, expected.as_bytes()));
}

#[tokio::test]
async fn a_page_is_no_answer_and_no_refusal() {
    let address = serve(|_, connection| {
        for status in ["200 OK", "200 OK", "429 Too Many Requests"] {
            connection.request();
            connection.answer(status, "content-type: text/html\r\nretry-after: 7\r\n", "<html></html>");
        }
    });
    let provider = provider(address);
    for stream in [false, true] {
        let error = failure(&provider, stream).await;
        assert!(matches!(error, ProviderError::BadReply(_)), "{error:?}");
    }
    let (status, headers, body) = whole(&provider, false).await;
    assert_eq!(
        (status.as_u16(), &headers["content-type"]),
        (429, &HeaderValue::from_static("application/json"))
    );
    assert_eq!(headers["retry-after"], "7");
    let expected: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&expected["error"]["type"], &expected["error"]["code"]),
        (&"rate_limit_error".into(), &"provider_refused".into())
    );
}

/// apache/apisix #13544: bytes that nobody can read are not passed on without the header that says what they are.
#[tokio::test]
async fn what_is_encoded_though_nobody_asked_is_not_usable() {
    let address = serve(|_, connection| {
        connection.request();
        connection.answer("200 OK", "content-encoding: gzip\r\n", [0x1f, 0x8b, 8, 0]);
    });
    let provider = provider(address);
    for stream in [false, true] {
        let error = failure(&provider, stream).await;
        assert!(matches!(error, ProviderError::BadReply(_)), "{error:?}");
    }
    let error = provider.list_models().await.unwrap_err();
    assert!(matches!(error, ProviderError::BadReply(_)), "{error:?}");

    let address = serve(|_, connection| {
        connection.request();
        connection.answer("400 Bad Request", "content-encoding: gzip\r\n", [0x1f, 0x8b, 8, 0]);
    });
    let (status, _, body) = whole(&super::provider(address), false).await;
    assert_eq!(status, 400);
    assert!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["error"].is_object());
}

#[tokio::test]
async fn an_upstream_that_is_busy_says_when_to_come_back() {
    let address = serve(|_, connection| {
        for status in ["503 Service Unavailable", "529 Overloaded"] {
            connection.request();
            connection.answer(status, "retry-after: 20\r\n", "{}");
        }
        connection.request();
        connection.answer("503 Service Unavailable", "", "{}");
    });
    let provider = provider(address);
    for code in [503, 529] {
        let error = failure(&provider, false).await;
        let after = Duration::from_secs(20);
        assert!(
            matches!(error, ProviderError::Busy { status, retry_after } if status.as_u16() == code && retry_after == after),
            "{error:?}"
        );
    }
    let error = failure(&provider, false).await;
    assert!(matches!(error, ProviderError::Status(_)), "{error:?}");
}

#[tokio::test]
async fn what_is_not_http_is_not_usable() {
    let address = serve(|_, connection| {
        connection.request();
        connection.send("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    });
    let error = failure(&provider(address), false).await;
    assert!(matches!(error, ProviderError::BadReply(_)), "{error:?}");
}

#[tokio::test]
async fn json_in_place_of_a_stream_is_a_whole_answer() {
    let address = serve(|_, connection| {
        connection.request();
        connection.answer("200 OK", "content-type: application/json\r\n", "{}");
    });
    assert_eq!(&whole(&provider(address), true).await.2[..], b"{}");
}

#[tokio::test]
async fn models_are_listed() {
    let (address, mut received) = watch(|_, connection| {
        let request = connection.request();
        connection.answer(
            "200 OK",
            "",
            r#"{"object":"list","data":[{"id":"a","owned_by":"x"},{"id":"b"}]}"#,
        );
        request
    });
    assert_eq!(provider(address).list_models().await.unwrap(), ["a", "b"]);
    let received = received.recv().await.unwrap().unwrap();
    assert!(
        received.head.starts_with("GET /v1/models HTTP/1.1\n"),
        "{}",
        received.head
    );

    let lists: [(&str, String); 3] = [
        ("200 OK", "{\"data\":null}".to_owned()),
        (
            "200 OK",
            format!("{{\"data\":[],\"x\":\"{}\"}}", "x".repeat(LARGEST_LIST)),
        ),
        ("500 Internal Server Error", String::new()),
    ];
    for (status, list) in lists {
        let about = list.len();
        let address = serve(move |_, connection| {
            connection.request();
            connection.answer(status, "", &list);
        });
        let error = timeout(LONG, provider(address).list_models())
            .await
            .unwrap()
            .unwrap_err();
        let expected = if status.starts_with("500") {
            matches!(error, ProviderError::Status(_))
        } else {
            matches!(error, ProviderError::BadReply(_))
        };
        assert!(expected, "{status}, {about} bytes: {error:?}");
    }
}

#[test]
fn what_cannot_be_sent_is_refused_at_start() {
    let mut bad = config("http://localhost/v1");
    bad.base_url = None;
    assert!(OpenAiProvider::new("x", &bad).is_err());
    let mut bad = config("http://localhost/v1");
    bad.api_key = Some("line\nend".into());
    assert!(OpenAiProvider::new("x", &bad).is_err());
}
