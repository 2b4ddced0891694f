//! Streams of events: whole, cut anywhere, broken off.

use std::{thread, time::Duration};

use super::{DONE, HELLO, LONG, events, failure, next, provider};
use crate::{ProviderError, Stage, exchange::tests::upstream::serve};
use llm::sse;

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

    // What breaks off behind a finish reason is whole.
    let mut stream = events(&provider(address)).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), HELLO);
    stream.as_mut().reached(Stage::Finished);
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
    assert_eq!(all, text.trim_start_matches('\u{feff}').as_bytes());
    data.retain(|data| !data.is_empty());
    assert_eq!(data.len(), 4);
    assert_eq!(data[1], b"a\nb");
    assert_eq!(data[3], b"[DONE]");
}

#[tokio::test]
async fn a_stream_is_one_under_any_content_type() {
    for content_type in [
        "application/json",
        "text/plain; charset=utf-8",
        "Text/Event-Stream; Charset=UTF-8",
        "",
    ] {
        let address = serve(move |_, connection| {
            connection.request();
            let named = match content_type {
                "" => String::new(),
                name => format!("content-type: {name}\r\n"),
            };
            connection.send(format!("HTTP/1.1 200 OK\r\n{named}transfer-encoding: chunked\r\n\r\n"));
            connection.chunk("da");
            thread::sleep(Duration::from_millis(10));
            connection.chunk(&HELLO["da".len()..]);
            // The first event is passed on before there is another.
            connection.request();
        });
        let mut stream = events(&provider(address)).await;
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), HELLO, "{content_type:?}");
    }
}

#[tokio::test]
async fn an_event_may_be_as_large_as_an_answer() {
    let large = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"images\":[\"{}\"]}}}}]}}\n\n",
        "A".repeat(3 << 20)
    );
    let sent = large.clone();
    let address = serve(move |_, connection| {
        connection.request();
        connection.begin_stream();
        for piece in sent.as_bytes().chunks(16 * 1024) {
            connection.chunk(piece);
        }
        connection.chunk(DONE);
        connection.end_stream();
    });
    let mut stream = events(&provider(address)).await;
    let mut all = Vec::new();
    while let Some(item) = next(&mut stream).await {
        all.extend_from_slice(&item.unwrap());
    }
    assert!(all == format!("{large}{DONE}").as_bytes(), "{} bytes", all.len());
}

/// songquanpeng/one-api #277: one line end between events.
#[tokio::test]
async fn events_that_one_line_end_parts_come_one_by_one_and_regular() {
    for end in ["\n", "\r\n"] {
        let address = serve(move |_, connection| {
            connection.request();
            connection.begin_stream();
            for _ in 0..3 {
                connection.chunk(format!("{}{end}", HELLO.trim_end()));
                thread::sleep(Duration::from_millis(20));
            }
            connection.chunk(format!("data: [DONE]{end}"));
            connection.closes_within(LONG);
        });
        let mut stream = events(&provider(address)).await;
        for _ in 0..3 {
            assert_eq!(next(&mut stream).await.unwrap().unwrap(), HELLO);
        }
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), DONE);
    }
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
    assert_eq!(
        next(&mut stream).await.unwrap().unwrap(),
        DONE,
        "the blank line is added"
    );
    assert!(next(&mut stream).await.is_none());
}
