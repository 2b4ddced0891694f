//! Against real sockets: what passes, what each limit catches, and that leaving ends the call.

mod upstream;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::timeout;

use super::OpenAiProvider;
use crate::{
    config::{ProviderConfig, ProviderKind},
    provider::{Endpoint, EventStream, Provider, ProviderError, ProviderReply, ProviderRequest, sse},
};
use upstream::{serve, watch};

/// What a test takes for "never".
const LONG: Duration = Duration::from_secs(8);
/// A limit that is meant to run out.
const SHORT: Duration = Duration::from_millis(150);
/// How soon an upstream must learn that nobody listens.
const SOON: Duration = Duration::from_secs(1);

const HELLO: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn config(base: &str) -> ProviderConfig {
    ProviderConfig {
        kind: ProviderKind::Openai,
        base_url: Some(base.parse().unwrap()),
        api_key: Some("sk-upstream".into()),
        headers: BTreeMap::from([("x-team".to_owned(), "maple".into())]),
        discover_models: false,
        connect_timeout: LONG,
        first_byte_timeout: LONG,
        chunk_timeout: LONG,
        total_timeout: LONG,
        first_token_delay: Duration::ZERO,
        token_delay: Duration::ZERO,
    }
}

fn provider(address: SocketAddr) -> OpenAiProvider {
    limited(address, |_| {})
}

fn limited(address: SocketAddr, set: impl FnOnce(&mut ProviderConfig)) -> OpenAiProvider {
    let mut config = config(&format!("http://{address}/v1/"));
    set(&mut config);
    OpenAiProvider::new("test", &config).unwrap()
}

fn asked(stream: bool) -> ProviderRequest {
    ProviderRequest {
        endpoint: Endpoint::ChatCompletions,
        body: Bytes::from_static(br#"{"model":"m", "x_unknown" : [1,  2]}"#),
        stream,
        traceparent: None,
    }
}

/// Within half of [`LONG`], so that a limit that was taken for another one is noticed.
async fn reply(provider: &OpenAiProvider, stream: bool) -> Result<ProviderReply, ProviderError> {
    timeout(LONG / 2, provider.send(asked(stream)))
        .await
        .expect("an answer in time")
}

async fn whole(provider: &OpenAiProvider, stream: bool) -> (StatusCode, HeaderMap, Bytes) {
    match reply(provider, stream).await {
        Ok(ProviderReply::Whole { status, headers, body }) => (status, headers, body),
        Ok(ProviderReply::Events { .. }) => panic!("a stream"),
        Err(error) => panic!("{error:?}"),
    }
}

async fn failure(provider: &OpenAiProvider, stream: bool) -> ProviderError {
    match reply(provider, stream).await {
        Ok(_) => panic!("an answer"),
        Err(error) => error,
    }
}

async fn events(provider: &OpenAiProvider) -> EventStream {
    match reply(provider, true).await {
        Ok(ProviderReply::Events { events, .. }) => events,
        Ok(ProviderReply::Whole { status, .. }) => panic!("whole: {status}"),
        Err(error) => panic!("{error:?}"),
    }
}

async fn next(events: &mut EventStream) -> Option<Result<Bytes, ProviderError>> {
    timeout(LONG / 2, events.next()).await.expect("an item in time")
}

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
            "openai-version: 2",
            "x-ratelimit-limit-requests: 9",
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
async fn connections_are_used_again_and_replaced_when_they_have_gone() {
    let (address, mut connections) = watch(|number, connection| {
        // The first connection closes after three answers, the last of which is a failure.
        for status in ["200 OK", "400 Bad Request", "503 Service Unavailable"] {
            connection.request();
            connection.answer(status, "", "{}");
        }
        thread::sleep(Duration::from_millis(20));
        number
    });
    let provider = provider(address);
    whole(&provider, false).await;
    whole(&provider, false).await;
    failure(&provider, false).await;
    // A request is not sent on a connection that has been closed, even where the runtime has had no time to notice that: nothing
    // is awaited here.
    thread::sleep(Duration::from_millis(100));
    whole(&provider, false).await;
    assert_eq!(connections.recv().await, Some(0), "all three on the first connection");
}

#[tokio::test]
async fn a_reader_that_leaves_after_the_last_event_does_not_cost_the_connection() {
    for pause in [Duration::ZERO, Duration::from_millis(30)] {
        let (address, mut connections) = watch(move |_, connection| {
            let answered = (0..4).take_while(|_| {
                let asked = connection.request().is_some();
                if asked {
                    connection.begin_stream();
                    connection.chunk(format!("{HELLO}{DONE}"));
                    // The end is a packet of its own.
                    thread::sleep(pause);
                    connection.end_stream();
                }
                asked
            });
            answered.count()
        });
        let provider = provider(address);
        for _ in 0..4 {
            let mut stream = events(&provider).await;
            assert!(next(&mut stream).await.unwrap().unwrap().ends_with(DONE.as_bytes()));
            drop(stream);
            // The next call comes when this one has ended.
            tokio::time::sleep(pause * 3 + Duration::from_millis(20)).await;
        }
        assert_eq!(connections.recv().await, Some(4), "all four on the first connection");
    }
}

#[tokio::test]
async fn an_answer_that_goes_on_after_its_mark_or_never_ends_is_given_up() {
    for goes_on in [true, false] {
        let (address, mut closed) = watch(move |number, connection| {
            connection.request();
            connection.begin_stream();
            connection.chunk(format!("{HELLO}{DONE}"));
            if number > 0 {
                connection.end_stream();
                return None;
            }
            if goes_on {
                thread::sleep(Duration::from_millis(50));
                connection.chunk(HELLO);
            }
            Some(connection.closes_within(LONG))
        });
        let provider = provider(address);
        let mut stream = events(&provider).await;
        next(&mut stream).await.unwrap().unwrap();
        drop(stream);
        tokio::time::sleep(Duration::from_millis(600)).await;
        // Another call finds that out, and goes on a connection of its own.
        let mut stream = events(&provider).await;
        next(&mut stream).await.unwrap().unwrap();
        let mut found = closed.recv().await;
        // The second connection has nothing to tell.
        while found == Some(None) {
            found = closed.recv().await;
        }
        assert_eq!(found, Some(Some(true)), "{goes_on}");
    }
}

#[tokio::test]
async fn an_unreachable_upstream_is_told_from_a_silent_one() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = failure(&provider(free), false).await;
    assert!(matches!(error, ProviderError::Unreachable(_)), "{error:?}");

    // Takes the TCP connection, and never shakes hands.
    let silent = serve(|_, connection| connection.stall());
    let mut config = config(&format!("https://{silent}/v1"));
    config.connect_timeout = SHORT;
    let error = failure(&OpenAiProvider::new("tls", &config).unwrap(), false).await;
    assert!(
        matches!(error, ProviderError::ConnectTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_host_that_takes_no_connection_runs_into_the_connect_timeout() {
    // With its queue full and nobody accepting, the kernel no longer answers.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _queued: Vec<_> = (0..4)
        .map_while(|_| std::net::TcpStream::connect_timeout(&address, SHORT).ok())
        .collect();
    let error = failure(&limited(address, |config| config.connect_timeout = SHORT), false).await;
    assert!(
        matches!(error, ProviderError::ConnectTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
}

#[tokio::test]
async fn silence_runs_into_the_first_byte_timeout_or_the_total_if_that_is_less() {
    let silent = serve(|_, connection| {
        connection.request();
        connection.stall();
    });
    for stream in [false, true] {
        let error = failure(&limited(silent, |config| config.first_byte_timeout = SHORT), stream).await;
        assert!(
            matches!(error, ProviderError::FirstByteTimeout(limit) if limit == SHORT),
            "{error:?}"
        );
        let error = failure(&limited(silent, |config| config.total_timeout = SHORT), stream).await;
        assert!(
            matches!(error, ProviderError::TotalTimeout(limit) if limit == SHORT),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_never_starts_runs_into_the_first_byte_timeout() {
    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        connection.stall();
    });
    let mut stream = events(&limited(address, |config| config.first_byte_timeout = SHORT)).await;
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert!(
        matches!(error, ProviderError::FirstByteTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
    assert!(next(&mut stream).await.is_none());
}

#[tokio::test]
async fn a_pause_runs_into_the_chunk_timeout() {
    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        // Longer together than the limit, and no pause as long as it.
        for _ in 0..5 {
            connection.chunk(HELLO);
            thread::sleep(SHORT / 3);
        }
        connection.stall();
    });
    let mut stream = events(&limited(address, |config| config.chunk_timeout = SHORT)).await;
    for _ in 0..5 {
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), HELLO);
    }
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert!(
        matches!(error, ProviderError::ChunkTimeout(limit) if limit == SHORT),
        "{error:?}"
    );

    let address = serve(|_, connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
        connection.stall();
    });
    let error = failure(&limited(address, |config| config.chunk_timeout = SHORT), false).await;
    assert!(
        matches!(error, ProviderError::ChunkTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_endless_answer_runs_into_the_total_timeout() {
    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        for _ in 0..400 {
            connection.chunk(HELLO);
            thread::sleep(Duration::from_millis(10));
        }
    });
    let provider = limited(address, |config| config.total_timeout = SHORT);
    let mut stream = events(&provider).await;
    let error = loop {
        match next(&mut stream).await.unwrap() {
            Ok(item) => assert!(item.starts_with(HELLO.as_bytes())),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, ProviderError::TotalTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
    let error = failure(&provider, false).await;
    assert!(
        matches!(error, ProviderError::TotalTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        connection.chunk(format!("{HELLO}data: {{\"cho"));
    });
    let mut stream = events(&provider(address)).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), HELLO);
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert!(matches!(error, ProviderError::BrokenOff(_)), "{error:?}");
    assert!(next(&mut stream).await.is_none());

    let halves = [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "",
    ];
    for half in halves {
        let address = serve(move |_, connection| {
            connection.request();
            connection.send(half);
        });
        let error = failure(&provider(address), false).await;
        assert!(matches!(error, ProviderError::BrokenOff(_)), "{half:?}: {error:?}");
    }
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
async fn events_stay_whole_however_they_are_cut() {
    let text = format!("\u{feff}: ping\r\n\r\n{HELLO}data: a\rdata: b\r\r{HELLO}{DONE}");
    let sent = text.clone();
    let address = serve(move |_, connection| {
        connection.request();
        connection.begin_stream();
        for piece in sent.as_bytes().chunks(7) {
            connection.chunk(piece);
            thread::sleep(Duration::from_millis(1));
        }
        connection.end_stream();
    });
    let mut stream = events(&provider(address)).await;
    let (mut all, mut data) = (Vec::new(), Vec::new());
    while let Some(item) = next(&mut stream).await {
        let item = item.unwrap();
        assert!(item.ends_with(b"\n") || item.ends_with(b"\r"), "{item:?}");
        data.extend(sse::events(&item).map(|event| event.data().to_vec()));
        all.extend_from_slice(&item);
    }
    assert_eq!(all, text.as_bytes());
    data.retain(|data| !data.is_empty());
    assert_eq!(data.len(), 4);
    assert_eq!(data[1], b"a\nb");
    assert_eq!(data[3], b"[DONE]");
}

#[tokio::test]
async fn a_stream_without_its_marker_or_last_blank_line_passes() {
    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        connection.chunk(HELLO);
        connection.chunk("data: [DONE]\n");
        connection.end_stream();
    });
    let mut stream = events(&provider(address)).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), HELLO);
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "data: [DONE]\n");
    assert!(next(&mut stream).await.is_none());
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
async fn answers_beyond_the_limits_are_refused() {
    let address = serve(|_, connection| {
        connection.request();
        connection.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            super::LARGEST_ANSWER + 1
        ));
        connection.stall();
    });
    let error = failure(&provider(address), false).await;
    assert!(matches!(error, ProviderError::BadReply(_)), "promised: {error:?}");

    let address = serve(|_, connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let piece = vec![b'x'; 1024 * 1024];
        for _ in 0..=super::LARGEST_ANSWER / piece.len() {
            connection.chunk(&piece);
        }
        connection.stall();
    });
    let error = failure(&provider(address), false).await;
    assert!(matches!(error, ProviderError::BadReply(_)), "sent: {error:?}");

    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        for _ in 0..20 {
            connection.chunk(vec![b'x'; 64 * 1024]);
        }
        connection.stall();
    });
    let error = next(&mut events(&provider(address)).await).await.unwrap().unwrap_err();
    assert!(matches!(error, ProviderError::BadReply(_)), "an event: {error:?}");
}

#[tokio::test]
async fn leaving_closes_the_connection() {
    let (address, mut closed) = watch(|_, connection| {
        connection.request();
        connection.closes_within(SOON)
    });
    let waited = timeout(SHORT, provider(address).send(asked(false))).await;
    assert!(waited.is_err());
    assert_eq!(closed.recv().await, Some(true), "before the head");

    let (address, mut closed) = watch(|_, connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
        connection.closes_within(SOON)
    });
    let waited = timeout(SHORT, provider(address).send(asked(false))).await;
    assert!(waited.is_err());
    assert_eq!(closed.recv().await, Some(true), "within the body");

    let (address, mut closed) = watch(|_, connection| {
        connection.request();
        connection.begin_stream();
        connection.chunk(HELLO);
        connection.closes_within(SOON)
    });
    let provider = provider(address);
    let mut stream = events(&provider).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), HELLO);
    drop(stream);
    assert_eq!(closed.recv().await, Some(true), "within a stream");
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
        ("200 OK", "{\"data\":[7]}".to_owned()),
        (
            "200 OK",
            format!("{{\"data\":[],\"x\":\"{}\"}}", "x".repeat(super::LARGEST_LIST)),
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
