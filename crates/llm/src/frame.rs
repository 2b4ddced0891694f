//! One event of a provider's stream, read once where its format is known: metering, sharing, the chat page and guardrails read the frame, and
//! nobody reads server-sent events a second time.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    outbound::{ChunkInfo, ReportedUsage},
    sse,
};

/// What a frame is in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A comment, which readers of events pass over: a sign of life.
    Comment,
    /// A part of the answer.
    Data,
    /// Counts, and nothing of the answer. Who did not ask for them is not sent it.
    Usage,
    /// The mark that ends a complete answer. Nothing follows it.
    Done,
    /// The provider's error, in the shape that its callers' clients raise. Nothing follows it.
    Error,
}

/// A whole server-sent event. Cheap to clone: the bytes are shared.
#[derive(Debug, Clone)]
pub struct Frame {
    /// As it came, with the blank line that ends it; of an error, as callers get it.
    pub bytes: Bytes,
    pub kind: FrameKind,
    /// What its data says for metering: usage, the length of its text, choices that have finished.
    pub info: ChunkInfo,
    /// Where its only line of data stands in `bytes`; empty if there is none or more than one.
    data: (usize, usize),
}

/// The event that ends a complete answer, of [`FrameKind::Done`].
pub const DONE: &[u8] = b"data: [DONE]\n\n";

impl Frame {
    /// The comment that a caller is sent while the provider says nothing.
    pub fn keep_alive() -> Self {
        Self::new(sse::KEEP_ALIVE, FrameKind::Comment, ChunkInfo::default(), (0, 0))
    }

    pub(crate) fn new(bytes: Bytes, kind: FrameKind, info: ChunkInfo, data: (usize, usize)) -> Self {
        Self {
            bytes,
            kind,
            info,
            data,
        }
    }

    /// The provider's own counts.
    pub fn usage(&self) -> Option<ReportedUsage> {
        self.info.usage
    }

    /// Its data without the field's name; empty for a comment.
    pub fn data(&self) -> Cow<'_, [u8]> {
        let (start, end) = self.data;
        if end > start {
            return Cow::Borrowed(&self.bytes[start..end]);
        }
        // Several lines of data in one event, which no model server is known to send.
        let data = sse::events(&self.bytes).next().map(|event| event.data().to_vec());
        Cow::Owned(data.unwrap_or_default())
    }
}
