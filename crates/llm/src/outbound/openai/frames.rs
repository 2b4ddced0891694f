//! Frames of a stream of `chat.completion.chunk` events, and whether the answer that they make up is complete.

mod progress;

use bytes::Bytes;

pub(super) use progress::NO_ANSWER;
pub use progress::{AnswerFault, AnswerProgress, Stage};

use super::{
    chunk::{Beginning, ChunkInfo, ReportedUsage, scan_next_chunk},
    fault,
};
use crate::{
    frame::{Frame, FrameKind},
    sse,
};

/// Makes frames of whole events.
#[derive(Debug)]
pub struct FrameReader {
    progress: AnswerProgress,
    beginning: Beginning,
    /// Whole events, read up to `at`.
    item: Bytes,
    at: usize,
    /// The provider's counts have come. Zeros are none: some servers do not count.
    is_counted: bool,
}

impl FrameReader {
    /// For a request of so many choices.
    pub fn new(choices: u32) -> Self {
        Self {
            progress: AnswerProgress::of(choices),
            beginning: Beginning::default(),
            item: Bytes::new(),
            at: 0,
            is_counted: false,
        }
    }

    /// Takes whole events. Those before have been read.
    pub fn push(&mut self, item: Bytes) {
        debug_assert!(self.at >= self.item.len(), "events that nobody has read");
        self.item = item;
        self.at = 0;
    }

    /// The next frame. `redact` takes secrets out of an error's data; `reach` is told each stage that the answer reaches with the frame.
    pub fn next(&mut self, redact: impl FnOnce(&[u8]) -> Vec<u8>, reach: impl FnMut(Stage)) -> Option<Frame> {
        let item = &self.item[self.at..];
        let event = sse::events(item).next()?;
        let (data, length) = (event.data(), event.range().end);
        let place = place(item, data).map_or((0, 0), |at| (at, at + data.len()));
        let (kind, info) = if data.is_empty() {
            (FrameKind::Comment, ChunkInfo::default())
        } else if sse::is_done(data) {
            self.progress.mark();
            (FrameKind::Done, ChunkInfo::default())
        } else {
            let info = scan_next_chunk(data, &mut self.beginning);
            self.is_counted |= info.usage.is_some_and(|usage| usage != ReportedUsage::default());
            let kind = if info.failed || info.is_malformed || event.is_error() {
                FrameKind::Error
            } else if info.usage.is_some() && !info.has_choices {
                FrameKind::Usage
            } else {
                FrameKind::Data
            };
            if !self.progress.is_over() {
                self.progress.note(&info, reach);
            }
            (kind, info)
        };
        let frame = if kind == FrameKind::Error {
            // What follows the end makes a complete answer no less so.
            if !self.progress.is_over() {
                self.progress.fail();
            }
            Frame::new(fault::error_event(&redact(data)), kind, info, (0, 0))
        } else {
            // Mostly the item is one event, which is passed on as it is.
            let bytes = if length == self.item.len() {
                self.item.clone()
            } else {
                self.item.slice(self.at..self.at + length)
            };
            Frame::new(bytes, kind, info, place)
        };
        self.at += length;
        Some(frame)
    }

    /// Whether the provider's counts have come.
    pub fn is_counted(&self) -> bool {
        self.is_counted
    }

    /// Whether a stream that ends here is a complete answer.
    pub fn end(&self) -> Result<(), AnswerFault> {
        self.progress.end()
    }
}

/// The frames of whole events that are known to be good, such as those of a stored answer.
pub fn of_stored(events: Bytes) -> impl Iterator<Item = Frame> {
    let mut reader = FrameReader::new(1);
    reader.push(events);
    std::iter::from_fn(move || reader.next(<[u8]>::to_vec, drop))
}

/// Where `data` stands in `item`, if it is a part of it and no copy.
fn place(item: &[u8], data: &[u8]) -> Option<usize> {
    let at = data.as_ptr().addr().checked_sub(item.as_ptr().addr())?;
    (at + data.len() <= item.len()).then_some(at)
}

#[cfg(test)]
mod tests;
