//! Server-sent events: however the network cuts them, they say the same.

use bytes::Bytes;
use llm::sse::{
    EventSplitter, MARK, begins_as_events, ends_with_blank_line, ends_with_mark, events, progress, regular,
};

pub fn check(data: &[u8]) {
    let Some((one, other)) = crate::cut(data) else { return };
    let whole = [one, other].concat();
    // One within a stream is none of an event that follows it, and a part of one that begins with it.
    if memchr::memmem::rfind(&whole, MARK).is_some_and(|at| at > 0) {
        return;
    }
    let mut at = 0;
    for event in events(&whole) {
        assert_eq!(event.range().start, at);
        assert!(event.range().end > at);
        at = event.range().end;
        let _ = progress(event.data());
    }
    assert_eq!(at, whole.len());
    let _ = (
        begins_as_events(&whole),
        ends_with_blank_line(&whole),
        ends_with_mark(&whole),
    );
    let said = said(&whole);
    if let Some(regular_item) = regular(&whole) {
        assert_eq!(self::said(&regular_item), said, "written regularly it says the same");
        assert_eq!(regular(&regular_item), None);
    }
    assert_eq!(read(&[one, other]), said, "cut at {} of {whole:?}", one.len());
    if whole.len() <= crate::MAX_BYTE_BY_BYTE {
        assert_eq!(
            read(&whole.chunks(1).collect::<Vec<_>>()),
            said,
            "byte by byte: {whole:?}"
        );
    }
}

/// Each event that says something, and whether it is an error.
fn said(item: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let all = events(item).map(|event| (event.data().to_vec(), event.is_error()));
    all.filter(|(data, _)| !data.is_empty()).collect()
}

/// What all events say; and no byte is lost.
fn read(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
    let mut splitter = EventSplitter::default();
    let mut items = Vec::new();
    for chunk in chunks {
        items.extend(
            splitter
                .push(Bytes::copy_from_slice(chunk), 0)
                .expect("far below the limit"),
        );
    }
    items.extend(splitter.rest());
    assert_eq!(items.concat(), chunks.concat());
    items.iter().flat_map(|item| said(item)).collect()
}
