//! What a journal knows: its segments, and what is to be written into the open one.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Fault, Place, codec, segment::Segment};
use crate::domain::usage::UsageRecord;

/// After a failure of the disk.
const RETRY: Duration = Duration::from_secs(2);
/// Whoever makes more than this pending writes it at once: clients may all have gone away, and nobody write to them.
const MOST_PENDING: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct State {
    /// Frames of records that the open segment counts, and its file does not have yet.
    pending: Vec<u8>,
    records_pending: u64,
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
        self.left_over + own.sum::<u64>() + self.pending.len() as u64
    }

    pub(super) fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        let mut own = self.sealed.iter_mut().chain(&mut self.open);
        own.find(|segment| segment.number == number)
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.pending.len() > MOST_PENDING
    }

    /// Nothing if the record cannot be kept. A fault may be new then.
    pub(super) fn append(&mut self, record: &UsageRecord, max_bytes: u64) -> Option<Place> {
        if self.fault.is_some() || self.open.is_none() {
            return None;
        }
        let before = self.pending.len();
        // Too long is what no catalogue allows: it costs this record its safety, not the journal.
        codec::encode(record, &mut self.pending).ok()?;
        if self.bytes() > max_bytes {
            self.pending.truncate(before);
            self.fault = Some(Fault::Full(max_bytes));
            return None;
        }
        let open = self.open.as_mut()?;
        open.waiting += 1;
        self.records_pending += 1;
        Some(Place(open.number))
    }

    /// Writes what is pending into the open segment. A fault may be new then.
    pub(super) fn commit(&mut self) {
        if let Err(error) = self.write() {
            self.fail(Fault::Write(error));
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let records = std::mem::take(&mut self.records_pending);
        let Some(open) = self.open.as_mut().filter(|_| records > 0) else {
            return Ok(());
        };
        let written = open.append(&self.pending);
        if written.is_err() {
            open.missing += records;
        }
        self.pending.clear();
        written
    }

    /// Nothing more goes into the open segment; what is in it stays until the database has it.
    pub(super) fn fail(&mut self, fault: Fault) {
        // What came before the fault: the disk may still take it, and if not, it is the same trouble.
        let _ = self.write();
        self.sealed.extend(self.open.take());
        self.fault = Some(fault);
        self.retry_at = Some(Instant::now() + RETRY);
    }

    /// Whether a new segment is to be opened, in place of the present one or of none.
    pub(super) fn wants_segment(&self, segment_bytes: u64) -> bool {
        match &self.open {
            Some(open) => open.bytes > 0 && (self.sealed.is_empty() || open.bytes >= segment_bytes),
            None => !self.closed && self.retry_at.is_none_or(|at| at <= Instant::now()),
        }
    }
}
