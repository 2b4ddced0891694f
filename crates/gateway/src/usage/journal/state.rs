//! The journal's state: its segments, and the records still to be written.

use std::{
    collections::VecDeque,
    fs::File,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use super::{Fault, STALLED, SegmentId, codec, segment::Segment};
use domain::usage::UsageRecord;

/// Between two attempts after a disk failure.
const RETRY: Duration = Duration::from_secs(2);
/// Flush when this many bytes are pending: normally the next socket write flushes, but all clients may have disconnected.
const WAKE_WRITER_ABOVE: usize = 64 * 1024;
/// More bytes are pending only if the disk accepts no writes.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;
/// Capacity that a buffer keeps for reuse.
const USUAL: usize = 256 * 1024;

/// Frames of one segment that are not in its file yet.
pub(super) struct Chunk {
    pub(super) segment: u64,
    pub(super) file: Arc<File>,
    pub(super) frames: Vec<u8>,
    pub(super) records: u64,
    /// The file's length when the writer takes the chunk.
    pub(super) at: u64,
}

/// The stage of the writer thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    #[default]
    Running,
    /// The last handle has been dropped.
    Ending,
    Gone,
}

#[derive(Default)]
pub(super) struct State {
    /// Chunks for the writer; bytes that wait for it, and bytes that it is writing.
    chunks: VecDeque<Chunk>,
    pending: usize,
    writing: usize,
    /// Start of the writer's present write.
    pub(super) writing_since: Option<Instant>,
    /// The buffer of a written chunk, for reuse.
    spare: Vec<u8>,
    /// The writer has something to do.
    pub(super) asked: bool,
    pub(super) stage: Stage,
    /// Connections that wait until so many records are safe.
    pub(super) waiters: Vec<(u64, Waker)>,
    pub(super) open: Option<Segment>,
    pub(super) sealed: Vec<Segment>,
    pub(super) segments_made: u64,
    /// Of segments that other processes left.
    pub(super) left_over: u64,
    pub(super) fault: Option<Fault>,
    pub(super) retry_at: Option<Instant>,
    pub(super) closed: bool,
}

impl State {
    pub(super) fn bytes(&self) -> u64 {
        let own = self.sealed.iter().chain(&self.open).map(|segment| segment.bytes);
        self.left_over + own.sum::<u64>() + (self.pending + self.writing) as u64
    }

    pub(super) fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        let mut own = self.sealed.iter_mut().chain(&mut self.open);
        own.find(|segment| segment.number == number)
    }

    pub(super) fn is_over_wake_limit(&self) -> bool {
        self.pending > WAKE_WRITER_ABOVE
    }

    /// `None` if the record cannot be journalled; it may set a new fault.
    pub(super) fn append(&mut self, record: &UsageRecord, max_bytes: u64) -> Option<SegmentId> {
        if self.fault.is_some() {
            return None;
        }
        let open = self.open.as_mut()?;
        if self.chunks.back().is_none_or(|last| last.segment != open.number) {
            self.chunks.push_back(Chunk {
                segment: open.number,
                file: Arc::clone(&open.file),
                frames: std::mem::take(&mut self.spare),
                records: 0,
                at: 0,
            });
        }
        let last = self.chunks.back_mut()?;
        let before = last.frames.len();
        // Only a record longer than any catalogue allows fails to encode: that record is lost, the journal goes on.
        codec::encode(record, &mut last.frames).ok()?;
        let added = last.frames.len() - before;
        last.records += 1;
        open.waiting += 1;
        let segment = SegmentId(open.number);
        self.pending += added;
        if self.bytes() > max_bytes || self.pending > MAX_PENDING_BYTES {
            let fault = if self.pending > MAX_PENDING_BYTES {
                Fault::Stalled
            } else {
                Fault::Full(max_bytes)
            };
            self.take_back(before, added);
            if matches!(fault, Fault::Stalled) {
                self.fail(fault);
            } else {
                self.fault = Some(fault);
            }
            return None;
        }
        Some(segment)
    }

    /// Removes the last record again.
    fn take_back(&mut self, before: usize, added: usize) {
        if let Some(last) = self.chunks.back_mut() {
            last.frames.truncate(before);
            last.records -= 1;
        }
        self.pending -= added;
        if let Some(open) = &mut self.open {
            open.waiting -= 1;
        }
    }

    /// Takes the chunks for the writer.
    pub(super) fn take_chunks(&mut self, now: Instant) -> VecDeque<Chunk> {
        self.writing = std::mem::take(&mut self.pending);
        self.writing_since = (self.writing > 0).then_some(now);
        let mut chunks = std::mem::take(&mut self.chunks);
        for chunk in &mut chunks {
            chunk.at = self.segment(chunk.segment).map_or(0, |segment| segment.bytes);
        }
        chunks
    }

    /// Records that the writer has finished its chunks.
    pub(super) fn note_written(&mut self, mut spare: Vec<u8>) {
        self.writing = 0;
        self.writing_since = None;
        spare.clear();
        spare.shrink_to(USUAL);
        if self.spare.capacity() < spare.capacity() {
            self.spare = spare;
        }
    }

    /// Whether the writer has been at one write for too long.
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        self.writing_since
            .is_some_and(|since| now.saturating_duration_since(since) > STALLED)
    }

    /// Seals the open segment after a fault; its records stay until the database has them. Pending records are still written:
    /// the disk may accept them, and if not, the fault stays the same.
    pub(super) fn fail(&mut self, fault: Fault) {
        self.sealed.extend(self.open.take());
        self.fault = Some(fault);
        self.retry_at = Some(Instant::now() + RETRY);
    }

    /// Whether a new segment is to be opened, in place of the present one or of none.
    pub(super) fn wants_segment(&self, segment_bytes: u64) -> bool {
        if let Some(open) = &self.open {
            return open.bytes > 0 && (self.sealed.is_empty() || open.bytes >= segment_bytes);
        }
        let now = Instant::now();
        !self.closed && !self.is_stalled(now) && self.retry_at.is_none_or(|at| at <= now)
    }
}
