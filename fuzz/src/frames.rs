//! Frames of a provider's stream: metering, sharing and the page read them, so nothing may be lost or made up, however the stream
//! is cut; and what ends the answer is the last.

// rustfmt would look for its tests beside it.
#[path = "../../crates/provider/src/frames.rs"]
#[rustfmt::skip]
mod provider;
pub(crate) mod surroundings;

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream as _;
use llm::{
    frame::{Frame, FrameKind},
    outbound::openai::{
        chunk::{delta_text, scan_chunk},
        frames::of_stored,
    },
    sse::EventSplitter,
};

use provider::{Frames, as_they_are};
use surroundings::{ProviderError, events_of};

type Said = Vec<(FrameKind, Vec<u8>)>;

pub fn check(data: &[u8]) {
    let Some((one, other)) = crate::cut(data) else { return };
    let whole = [one, other].concat();
    let _ = (scan_chunk(&whole), delta_text(&whole));
    let stored: Vec<_> = of_stored(Bytes::from(whole.clone())).collect();
    if stored.iter().all(|frame| frame.kind != FrameKind::Error) {
        let joined: Vec<u8> = stored.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
        assert_eq!(joined, whole, "together the frames are what came");
        for frame in &stored {
            let data = frame.data();
            assert!(data.is_empty() || frame.kind == FrameKind::Done || frame.info == scan_chunk(&data));
        }
    }
    let (said, cut) = (ordered(&[&whole]), ordered(&[one, other]));
    assert_eq!(said, cut, "cut at {} of {whole:?}", one.len());
    if whole.len() <= crate::MAX_BYTE_BY_BYTE {
        assert_eq!(
            said,
            ordered(&whole.chunks(1).collect::<Vec<_>>()),
            "byte by byte: {whole:?}"
        );
    }
}

/// What a caller is sent of a stream that comes in such chunks.
fn ordered(chunks: &[&[u8]]) -> (Said, Option<String>) {
    let mut splitter = EventSplitter::default();
    let items = chunks
        .iter()
        .map(|chunk| splitter.push(Bytes::copy_from_slice(chunk), 0));
    let mut items: Vec<Bytes> = items.filter_map(|item| item.expect("far below the limit")).collect();
    items.extend(splitter.rest());
    let mut frames = pin!(Frames::new(events_of(items), 1, as_they_are, Box::new(<[u8]>::to_vec)));
    let mut context = Context::from_waker(Waker::noop());
    let (mut said, mut end) = (Vec::new(), None);
    loop {
        let next: Option<Result<Frame, ProviderError>> = match frames.as_mut().poll_next(&mut context) {
            Poll::Ready(next) => next,
            Poll::Pending => panic!("a stream that has come waits for nothing"),
        };
        let Some(next) = next else { break };
        assert!(end.is_none(), "nothing follows the end");
        match next {
            Ok(frame) if frame.kind == FrameKind::Data => said.push((frame.kind, frame.data().into_owned())),
            Ok(frame) if matches!(frame.kind, FrameKind::Done | FrameKind::Error) => {
                end = Some(format!("{:?}", frame.kind))
            }
            // Comments are signs of life, and counts behind the mark are waited for in so many pieces only.
            Ok(_) => {}
            Err(error) => end = Some(error.to_string()),
        }
    }
    (said, end)
}
