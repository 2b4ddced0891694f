//! Maintenance by the journal's thread: marking calls, sealing, removing, syncing, recovering, closing.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Instant,
};

use super::{
    Fault,
    calls::{SHARDS, SlotId},
    segment::Segment,
    writer::Writer,
};

/// A segment is sealed at this size even if others still wait for the database: few files, and none kept long for one record.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// Segments that are being synced, on a thread apart: a disk may take seconds for it, and records are written meanwhile.
pub(super) struct Syncing {
    /// Their numbers, and how many bytes of them.
    due: Vec<(u64, u64)>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writer {
    /// One round of maintenance: mark, seal, remove, sync, recover.
    pub(super) fn maintain(&mut self) {
        let finished = self.journal.calls.take_finished();
        if let Err(error) = self.mark_calls(finished, false) {
            self.journal.fail(Fault::Write(error));
        }
        self.roll();
        for segment in self.sealed.extract_if(.., |segment| segment.waiting == 0) {
            // A file that cannot be removed is read in vain at the next start.
            let _ = segment.remove();
        }
        self.collect_synced(false);
        self.sync();
        self.bytes_gauge.set(self.bytes() as f64);
    }

    pub(super) fn mark_all_calls(&mut self) {
        let finished = self.journal.calls.take_finished();
        if let Err(error) = self.mark_calls(finished, true) {
            self.journal.fail(Fault::Write(error));
        }
    }

    /// Wipes finished calls, once their records are written, and marks the others.
    fn mark_calls(&mut self, finished: Vec<SlotId>, at_once: bool) -> io::Result<()> {
        self.write_queued();
        let calls = Arc::clone(&self.journal.calls);
        let wiped = self.calls.wipe(&finished);
        calls.free(finished);
        if self.open.is_some() || at_once {
            let now = Instant::now();
            for shard in 0..SHARDS {
                let due = calls.due(shard, now, at_once);
                self.calls.mark(&self.journal.directory, self.journal.owner, due)?;
                // There may be thousands of marks, and connections wait meanwhile.
                self.write_queued();
            }
        }
        wiped
    }

    /// Opens a new segment, in place of the present one or of none, if that is due.
    fn roll(&mut self) {
        let (is_faulty, may_retry) = {
            let queue = self.journal.queue();
            let may_retry = match queue.fault {
                None => true,
                Some(Fault::Full(_)) => self.bytes() <= self.max_bytes / 4 * 3,
                Some(_) => queue.retry_at.is_none_or(|at| at <= Instant::now()),
            };
            (queue.fault.is_some(), may_retry)
        };
        if is_faulty {
            // What was accepted before the fault; nothing is accepted since.
            self.write_queued();
            self.sealed.extend(self.open.take());
        }
        let limit = SEGMENT_BYTES.min(self.max_bytes / 4);
        let wanted = match &self.open {
            Some(open) => open.bytes > 0 && (self.sealed.is_empty() || open.bytes >= limit),
            None => !self.closed && may_retry,
        };
        if !wanted {
            return;
        }
        let is_trial = self.open.is_none();
        match Segment::create(
            &self.journal.directory,
            self.journal.owner,
            self.segments_made,
            is_trial,
        ) {
            Ok(segment) => {
                self.segments_made += 1;
                self.sealed.extend(self.open.replace(segment));
                self.journal.accept();
            }
            Err(error) => self.journal.fail(Fault::Create(error)),
        }
    }

    /// Begins to sync records that the database has not confirmed in time.
    fn sync(&mut self) {
        if self.syncing.is_some() {
            return;
        }
        let is_crowded = !self.sealed.is_empty();
        let aged = self.sealed.iter_mut().filter_map(|one| {
            let aged = std::mem::replace(&mut one.aged, true);
            aged.then_some(&*one)
        });
        let open = self.open.iter().filter(|_| is_crowded);
        let due: Vec<_> = aged.chain(open).filter(|one| one.synced < one.bytes).collect();
        if due.is_empty() {
            return;
        }
        let files: Vec<_> = due.iter().map(|one| Arc::clone(&one.file)).collect();
        let due = due.iter().map(|one| (one.number, one.bytes)).collect();
        let directory = self.journal.directory.clone();
        let thread = thread::Builder::new().name("usage-sync".to_owned());
        let sync = self.sync_files;
        match thread.spawn(move || sync(&directory, &files)) {
            Ok(thread) => self.syncing = Some(Syncing { due, thread }),
            Err(error) => self.journal.fail(Fault::Sync(error)),
        }
    }

    /// Notes what has been synced, if that is over.
    pub(super) fn collect_synced(&mut self, wait: bool) {
        let Some(Syncing { due, thread }) = self.syncing.take_if(|syncing| wait || syncing.thread.is_finished()) else {
            return;
        };
        let mut outcome = thread.join().unwrap_or_else(|_| Err(io::Error::other("a panic")));
        for (number, bytes) in due {
            // Noted as synced also after a failure: the kernel reports it once, and the next sync succeeds without writing.
            let open = self.open.iter_mut().find(|open| open.number == number);
            if let Some(open) = open {
                open.synced = bytes;
            } else if let Some(sealed) = self.sealed.iter_mut().find(|one| one.number == number) {
                sealed.synced = bytes;
                // The segment is complete and stays for a while.
                if sealed.bytes == bytes {
                    outcome = outcome.and(sealed.seal());
                }
            }
        }
        if let Err(error) = outcome {
            self.journal.fail(Fault::Sync(error));
        }
    }

    /// See [`super::Journal::close`].
    pub(super) fn close(&mut self) -> u64 {
        self.closed = true;
        self.journal.queue().accepts = false;
        let finished = self.journal.calls.take_finished();
        // Best effort: an unmarked call was not promised to be recorded.
        let _ = self.mark_calls(finished, true);
        let _ = self.calls.close(self.journal.calls.is_idle());
        let mut kept = 0;
        for segment in self.sealed.drain(..).chain(self.open.take()) {
            if segment.waiting == 0 {
                let _ = segment.remove();
            } else {
                kept += segment.waiting;
                let _ = segment.file.sync_all();
            }
        }
        kept
    }

    /// Bytes of all files, those of dead processes included.
    pub(super) fn bytes(&self) -> u64 {
        let own = self.sealed.iter().chain(&self.open).map(|segment| segment.bytes);
        self.journal.orphaned_bytes.load(Ordering::Relaxed) + own.sum::<u64>()
    }
}

/// Syncs files, and the directory with the names of new ones.
pub(super) fn sync_files(directory: &Path, files: &[Arc<File>]) -> io::Result<()> {
    let named = File::open(directory).and_then(|directory| directory.sync_all());
    files.iter().fold(named, |outcome, file| outcome.and(file.sync_data()))
}
