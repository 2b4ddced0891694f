//! What a shared call has answered so far, and how far each reader has come.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use crate::completions::{NoCapacity, stored::StoredAnswer};
use concurrency::memory::{Allowance, Exhausted, StreamReservation, UNCOUNTED};
use domain::tokens::TokenUsage;
use llm::frame::Frame;
use provider::ProviderError;

/// If an answer is too long to be stored, readers that lag further behind than this many bytes lose the frames they have not
/// read.
const FURTHEST_BEHIND: usize = 4 * 1024 * 1024;
/// The leader waits while even its fastest reader has so many bytes left to read.
const FURTHEST_AHEAD: usize = 64 * 1024;

pub(super) struct Log {
    pub(super) head: Option<Head>,
    /// Without the usage frame and the last one.
    pub(super) frames: VecDeque<Frame>,
    /// Number of frames before the first retained one.
    pub(super) dropped: usize,
    /// Bytes of all frames, and of the retained ones.
    bytes: usize,
    retained: usize,
    /// Retained bytes that `room` counts.
    uncounted: usize,
    room: StreamReservation,
    max_bytes: usize,
    /// Each reader decides whether it gets it. It precedes `last`.
    pub(super) usage: Option<Frame>,
    /// The mark, or the provider's error.
    pub(super) last: Option<Frame>,
    /// The provider reported an error inside the stream, which the readers see.
    pub(super) has_failed: bool,
    /// Tokens consumed so far.
    pub(super) tokens: TokenUsage,
    pub(super) readers: Readers,
    pub(super) end: Option<End>,
}

/// The head of the response, with the body unless it is streamed.
#[derive(Clone)]
pub(in crate::completions) enum Head {
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    Stream {
        headers: HeaderMap,
    },
}

/// How the call ended.
pub(super) enum End {
    /// With the answer for other callers, if it may be stored.
    Done(Option<StoredAnswer>),
    Broken(StartError),
}

/// Why there is no response.
#[derive(Debug)]
pub(in crate::completions) enum StartError {
    /// The call failed. Only the caller that started it gets the error.
    Failed(Option<ProviderError>),
    NoCapacity(NoCapacity),
    Stopping,
}

impl StartError {
    /// The error for one reader; `leads` says that it started the call.
    pub(super) fn for_reader(&mut self, leads: bool) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(error.take_if(|_| leads)),
            Self::NoCapacity(error) => Self::NoCapacity(*error),
            Self::Stopping => Self::Stopping,
        }
    }
}

impl Head {
    pub(super) fn headers(&self) -> &HeaderMap {
        let (Self::Whole { headers, .. } | Self::Stream { headers }) = self;
        headers
    }
}

/// Whether the answer may be stored for later callers (RFC 9111 5.2.2.5): a stand-in for the model's answer may not.
pub(super) fn may_be_stored(headers: &HeaderMap) -> bool {
    headers
        .get(header::CACHE_CONTROL)
        .is_none_or(|value| value.as_bytes() != b"no-store")
}

impl Log {
    pub(super) fn new(max_bytes: usize, memory: Allowance) -> Self {
        Self {
            head: None,
            frames: VecDeque::new(),
            dropped: 0,
            bytes: 0,
            retained: 0,
            uncounted: 0,
            room: StreamReservation::new(Some(memory)),
            max_bytes,
            usage: None,
            last: None,
            has_failed: false,
            tokens: TokenUsage::default(),
            readers: Readers::default(),
            end: None,
        }
    }

    /// Appends a frame; an error if there is no room for it.
    pub(super) fn push(&mut self, frame: Frame) -> Result<(), Exhausted> {
        self.bytes += frame.bytes.len();
        self.retained += frame.bytes.len();
        self.uncounted += uncounted(&frame);
        self.frames.push_back(frame);
        if self.is_too_long() {
            let slowest = self.readers.slowest();
            while self.frames.len() > 1 && (self.dropped < slowest || self.retained > FURTHEST_BEHIND) {
                self.let_go();
            }
        }
        self.room.reserve(self.uncounted, FURTHEST_BEHIND.max(self.max_bytes))
    }

    fn let_go(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.dropped += 1;
            self.retained -= frame.bytes.len();
            self.uncounted -= uncounted(&frame);
            if self.uncounted <= UNCOUNTED {
                self.room.clear();
            }
        }
    }

    /// Whether the answer is too long to be stored, and so to be joined or converted.
    pub(super) fn is_too_long(&self) -> bool {
        self.bytes > self.max_bytes
    }

    /// Whether the fastest reader has much left to read.
    pub(super) fn is_far_ahead(&self) -> bool {
        self.bytes > self.readers.fastest().saturating_add(FURTHEST_AHEAD)
    }
}

/// The bytes of a frame to be counted here: large ones are counted already, by the provider's stream.
fn uncounted(frame: &Frame) -> usize {
    let length = frame.bytes.len();
    if length > UNCOUNTED { 0 } else { length }
}

/// How far each reader has come. Few calls have a second reader, so a list is faster than a map.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// By id, since they come with ascending ones.
    all: Vec<Position>,
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    id: u64,
    frames: usize,
    bytes: usize,
}

impl Readers {
    pub(super) fn add(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        self.all.push(Position {
            id,
            frames: 0,
            bytes: 0,
        });
        id
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Ok(at) = self.all.binary_search_by_key(&id, |reader| reader.id) {
            self.all.remove(at);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Records that a reader has read one more frame, of so many bytes.
    pub(super) fn advance(&mut self, id: u64, bytes: usize) {
        if let Ok(at) = self.all.binary_search_by_key(&id, |reader| reader.id) {
            self.all[at].frames += 1;
            self.all[at].bytes += bytes;
        }
    }

    /// Records that a reader only waits for the end, so that nothing is kept for it and nobody waits for it.
    pub(super) fn await_end(&mut self, id: u64) {
        if let Ok(at) = self.all.binary_search_by_key(&id, |reader| reader.id) {
            (self.all[at].frames, self.all[at].bytes) = (usize::MAX, usize::MAX);
        }
    }

    /// Frames that all readers have read.
    fn slowest(&self) -> usize {
        self.all.iter().map(|reader| reader.frames).min().unwrap_or(usize::MAX)
    }

    /// Bytes that the fastest reader has read.
    fn fastest(&self) -> usize {
        self.all.iter().map(|reader| reader.bytes).max().unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests;
