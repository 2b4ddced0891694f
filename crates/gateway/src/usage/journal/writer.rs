//! The journal's thread, which owns its files, so that no serving thread waits for the disk.
//!
//! When woken it takes all queued records, writes them, and wakes the waiting connections: one write for all.

use std::{
    fs::File,
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{Gauge, gauge};

use super::{
    EntryNumber, Fault,
    calls::CallsFile,
    maintenance::{Syncing, sync_files},
    queue::JournalInner,
    segment::{self, Segment},
};
use telemetry::metrics::USAGE_JOURNAL_BYTES;

/// Capacity that the buffer keeps for reuse.
const USUAL: usize = 256 * 1024;

pub(super) struct Writer {
    pub(super) journal: Arc<JournalInner>,
    pub(super) max_bytes: u64,
    /// What is being written. Exchanged with the queue's buffer.
    frames: Vec<u8>,
    /// Number of records ever taken from the queue.
    taken: u64,
    pub(super) open: Option<Segment>,
    pub(super) sealed: Vec<Segment>,
    pub(super) segments_made: u64,
    pub(super) calls: CallsFile,
    pub(super) syncing: Option<Syncing>,
    /// [`sync_files`], or what a test has in its place.
    pub(super) sync_files: fn(&Path, &[Arc<File>]) -> io::Result<()>,
    pub(super) closed: bool,
    /// The last handle has been dropped.
    pub(super) ends: bool,
    pub(super) bytes_gauge: Gauge,
}

impl Writer {
    pub(super) fn new(journal: Arc<JournalInner>, max_bytes: u64) -> Self {
        Self {
            journal,
            max_bytes,
            frames: Vec::new(),
            taken: 0,
            open: None,
            sealed: Vec::new(),
            segments_made: 0,
            calls: CallsFile::default(),
            syncing: None,
            sync_files,
            closed: false,
            ends: false,
            bytes_gauge: gauge!(USAGE_JOURNAL_BYTES),
        }
    }

    /// Until the last handle is gone and what it appended is written.
    pub(super) fn run(mut self, interval: Duration) {
        let mut round = Instant::now() + interval;
        while !self.ends {
            let requests = self.journal.wait_for_work(round);
            self.write_queued();
            for request in requests {
                request(&mut self);
            }
            if round <= Instant::now() {
                self.maintain();
                round = Instant::now() + interval;
            }
        }
    }

    /// Writes what is in the queue, and wakes the connections that wait for it.
    pub(super) fn write_queued(&mut self) {
        self.frames.clear();
        self.frames.shrink_to(USUAL);
        let mut queue = self.journal.queue();
        std::mem::swap(&mut queue.frames, &mut self.frames);
        let confirmed = std::mem::take(&mut queue.confirmed);
        let appended = queue.next;
        queue.busy_since = Some(Instant::now());
        drop(queue);
        if let Err(fault) = self.write(appended) {
            // Its records stay until the database has them. What comes after those that are missing goes into another one, so
            // that the numbers of its records have no gaps.
            self.sealed.extend(self.open.take());
            self.journal.fail(fault);
        }
        self.taken = appended;
        for entry in confirmed {
            self.confirm(entry);
        }
        self.journal.release(appended);
    }

    fn write(&mut self, appended: u64) -> Result<(), Fault> {
        let count = appended - self.taken;
        let bytes = self.bytes() + self.frames.len() as u64;
        let Some(open) = self.open.as_mut().filter(|_| count > 0) else {
            return Ok(());
        };
        if bytes > self.max_bytes {
            return Err(Fault::Full(self.max_bytes));
        }
        open.bytes += segment::append(&open.file, &self.frames, open.bytes).map_err(Fault::Write)?;
        if open.entries.is_empty() {
            open.entries.start = self.taken;
        }
        open.entries.end = appended;
        open.waiting += count;
        Ok(())
    }

    fn confirm(&mut self, entry: EntryNumber) {
        let mut own = self.sealed.iter_mut().chain(&mut self.open);
        if let Some(segment) = own.find(|segment| segment.entries.contains(&entry.0)) {
            segment.waiting = segment.waiting.saturating_sub(1);
        }
    }
}
