//! Maintenance off the hot path, which waits for the disk: sealing, removing, syncing, recovering, closing.

use std::{io, sync::Arc, time::Duration};

use super::{Fault, Journal, STALLED, segment::Segment, state::State};

/// A segment is sealed at this size even if others still wait for the database: few files, and none kept long for one record.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// Time for the last records at shutdown.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

impl Journal {
    /// One round of maintenance: seal, remove, sync, recover.
    pub(in crate::usage) fn maintain(&self) {
        let over = self.calls.take_over();
        if !self.settle(STALLED) {
            self.calls.put_back(over);
            // Any other operation on this disk would hang as well.
            return;
        }
        if let Err(error) = self.mark_calls(over, false) {
            self.note(Fault::Write(error));
        }
        let wanted = {
            let state = self.state();
            let wanted = state.wants_segment(SEGMENT_BYTES.min(self.max_bytes / 4));
            wanted.then(|| (state.segments_made, state.fault.is_some() || state.open.is_none()))
        };
        if let Some((number, trial)) = wanted {
            let made = Segment::create(&self.directory, self.owner, number, trial);
            self.take_over(made);
        }
        self.remove_confirmed();
        self.sync();
        let mut state = self.state();
        let bytes = state.bytes();
        if matches!(state.fault, Some(Fault::Full(_))) && bytes <= self.max_bytes / 4 * 3 {
            state.fault = None;
            self.log_recovery();
        }
        self.up.set(if state.fault.is_none() { 1.0 } else { 0.0 });
        self.bytes.set(bytes as f64);
    }

    /// Wipes finished calls, whose records are safe, and marks the others.
    fn mark_calls(&self, over: Vec<(usize, usize)>, at_once: bool) -> io::Result<()> {
        let wiped = self.calls.wipe(over);
        if self.state().open.is_some() || at_once {
            self.calls.mark(&self.directory, self.owner, at_once)?;
        }
        wiped
    }

    /// Marks what all calls have delivered so far, for a process that ends at once.
    pub(in crate::usage) fn mark_all_calls(&self) {
        let over = self.calls.take_over();
        if self.settle(STALLED)
            && let Err(error) = self.mark_calls(over, true)
        {
            self.note(Fault::Write(error));
        }
    }

    fn take_over(&self, made: io::Result<Segment>) {
        let mut state = self.state();
        match made {
            Ok(segment) => {
                state.segments_made += 1;
                let sealed = state.open.replace(segment);
                state.sealed.extend(sealed);
                if state.fault.take_if(|fault| !matches!(fault, Fault::Full(_))).is_some() {
                    self.log_recovery();
                }
            }
            Err(error) => {
                drop(state);
                self.note(Fault::Create(error));
            }
        }
    }

    /// Records a fault, and logs it if it is the first.
    fn note(&self, fault: Fault) {
        let mut state = self.state();
        let was_working = state.fault.is_none();
        state.fail(fault);
        if was_working {
            self.log_fault(&state);
        }
    }

    fn remove_confirmed(&self) {
        let done: Vec<_> = self
            .state()
            .sealed
            .extract_if(.., |segment| segment.waiting == 0)
            .collect();
        for segment in done {
            // A file that cannot be removed is read in vain at the next start.
            let _ = segment.remove();
        }
    }

    /// Syncs records that the database has not confirmed in time.
    fn sync(&self) {
        let due: Vec<_> = {
            let mut state = self.state();
            let crowded = !state.sealed.is_empty();
            let State { open, sealed, .. } = &mut *state;
            let aged = sealed.iter_mut().filter_map(|one| {
                let aged = std::mem::replace(&mut one.aged, true);
                aged.then_some(&*one)
            });
            let open = open.iter().filter(|_| crowded);
            aged.chain(open)
                .filter(|one| one.synced < one.bytes)
                .map(|one| (one.number, Arc::clone(&one.file), one.bytes))
                .collect()
        };
        if due.is_empty() {
            return;
        }
        // The names of new files as well.
        let mut outcome = std::fs::File::open(&self.directory).and_then(|directory| directory.sync_all());
        for (number, file, bytes) in due {
            outcome = outcome.and(file.sync_data());
            let mut state = self.state();
            // Marked as synced also after a failure: the kernel reports it once, and the next sync succeeds without writing.
            let is_open = state.open.as_ref().is_some_and(|open| open.number == number);
            if let Some(segment) = state.segment(number) {
                segment.synced = bytes;
                // The segment is complete and stays for a while.
                if !is_open && segment.bytes == bytes {
                    outcome = outcome.and(segment.seal());
                }
            }
        }
        if let Err(error) = outcome {
            self.note(Fault::Sync(error));
        }
    }

    /// Removes confirmed segments and syncs the rest for the next start. Returns the number of remaining records.
    pub(in crate::usage) fn close(&self) -> u64 {
        let over = self.calls.take_over();
        if self.settle(CLOSE_LIMIT) {
            // Best effort: an unmarked call was not promised to be recorded.
            let _ = self.mark_calls(over, true);
        }
        let _ = self.calls.close();
        let segments: Vec<_> = {
            let mut state = self.state();
            state.closed = true;
            let open = state.open.take();
            std::mem::take(&mut state.sealed).into_iter().chain(open).collect()
        };
        let mut kept = 0;
        for segment in segments {
            if segment.waiting == 0 {
                let _ = segment.remove();
            } else {
                kept += segment.waiting.saturating_sub(segment.missing);
                let _ = segment.file.sync_all();
            }
        }
        kept
    }

    fn log_recovery(&self) {
        self.up.set(1.0);
        tracing::warn!(target: "mapleai::lifecycle", directory = %self.directory.display(), "the usage journal is written again");
    }
}
