//! What a journal knows: its segments, and what is to be written into the open one.

use std::{
    collections::VecDeque,
    fs::File,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use super::{Fault, Place, STALLED, codec, segment::Segment};
use domain::usage::UsageRecord;

/// After a failure of the disk.
const RETRY: Duration = Duration::from_secs(2);
/// Beyond this the writer is woken though nobody waits for it: clients may all have gone away.
const CROWDED: usize = 64 * 1024;
/// More than this is pending only where the disk takes nothing.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;
/// What a buffer may keep of its room for the next time.
const USUAL: usize = 256 * 1024;

/// Frames for one segment, which its file does not have yet.
pub(super) struct Chunk {
    pub(super) segment: u64,
    pub(super) file: Arc<File>,
    pub(super) frames: Vec<u8>,
    pub(super) records: u64,
    /// How long the file is, once it is the writer's turn.
    pub(super) at: u64,
}

/// Of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    #[default]
    Running,
    /// Nobody is there any more who could ask it.
    Ending,
    Gone,
}

#[derive(Default)]
pub(super) struct State {
    /// What the writer is to take, and what it has taken and not finished, in bytes.
    chunks: VecDeque<Chunk>,
    pending: usize,
    writing: usize,
    /// Since when the writer has been at its present write.
    pub(super) writing_since: Option<Instant>,
    /// Room of a chunk that was written.
    spare: Vec<u8>,
    /// The writer has something to do.
    pub(super) asked: bool,
    pub(super) stage: Stage,
    /// Who waits until so much is safe.
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

    pub(super) fn is_crowded(&self) -> bool {
        self.pending > CROWDED
    }

    /// Nothing if the record cannot be kept. A fault may be new then.
    pub(super) fn append(&mut self, record: &UsageRecord, max_bytes: u64) -> Option<Place> {
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
        // Too long is what no catalogue allows: it costs this record its safety, not the journal.
        codec::encode(record, &mut last.frames).ok()?;
        let added = last.frames.len() - before;
        last.records += 1;
        open.waiting += 1;
        let place = Place(open.number);
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
        Some(place)
    }

    /// The last record is not kept after all.
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

    /// What the writer is to write now.
    pub(super) fn take_chunks(&mut self, now: Instant) -> VecDeque<Chunk> {
        self.writing = std::mem::take(&mut self.pending);
        self.writing_since = (self.writing > 0).then_some(now);
        let mut chunks = std::mem::take(&mut self.chunks);
        for chunk in &mut chunks {
            chunk.at = self.segment(chunk.segment).map_or(0, |segment| segment.bytes);
        }
        chunks
    }

    /// The writer has done what it took.
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

    /// Nothing more goes into the open segment; what is in it stays until the database has it. What is pending is still
    /// written: the disk may take it, and if not, it is the same trouble.
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
