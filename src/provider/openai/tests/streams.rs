//! Streams of events: whole, cut anywhere, broken off.

use std::{thread, time::Duration};

use super::{DONE, HELLO, events, failure, next, provider, upstream::serve};
use crate::provider::{ProviderError, sse};

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
