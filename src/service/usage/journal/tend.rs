//! The work beside the hot path, which waits for the disk: sealing, removing, syncing, recovering, closing.

use std::{io, sync::Arc};

use super::{Fault, Journal, segment::Segment, state::State};

/// A segment is sealed at this size though others still wait for the database. Few files, and none kept long for one record.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

impl Journal {
    /// The regular work: seal, remove, sync, recover.
    pub(in crate::service::usage) fn tend(&self) {
        self.commit();
        let wanted = {
            let state = self.state();
            let wanted = state.wants_segment(SEGMENT_BYTES.min(self.0.max_bytes / 4));
            wanted.then(|| (state.segments_made, state.fault.is_some() || state.open.is_none()))
        };
        if let Some((number, trial)) = wanted {
            let made = Segment::create(&self.0.directory, self.0.owner, number, trial);
            self.take_over(made);
        }
        self.remove_confirmed();
        self.sync();
        let mut state = self.state();
        let bytes = state.bytes();
        if matches!(state.fault, Some(Fault::Full(_))) && bytes <= self.0.max_bytes / 4 * 3 {
            state.fault = None;
            self.tell_recovery();
        }
        self.0.up.set(if state.fault.is_none() { 1.0 } else { 0.0 });
        self.0.bytes.set(bytes as f64);
    }

    fn take_over(&self, made: io::Result<Segment>) {
        let mut state = self.state();
        match made {
            Ok(segment) => {
                // What is pending belongs to the present one.
                state.commit();
                state.segments_made += 1;
                let sealed = state.open.replace(segment);
                state.sealed.extend(sealed);
                if state.fault.take_if(|fault| !matches!(fault, Fault::Full(_))).is_some() {
                    self.tell_recovery();
                }
            }
            Err(error) => {
                drop(state);
                self.note(Fault::Create(error));
            }
        }
    }

    /// Takes a fault down, and tells it if there was none.
    fn note(&self, fault: Fault) {
        let mut state = self.state();
        let was_well = state.fault.is_none();
        state.fail(fault);
        if was_well {
            self.tell_fault(&state);
        }
    }

    fn remove_confirmed(&self) {
        let done: Vec<_> = self
            .state()
            .sealed
            .extract_if(.., |segment| segment.waiting == 0)
            .collect();
        for segment in done {
            // A file that stays is read at the next start, for nothing.
            let _ = segment.remove();
        }
    }

    /// Brings to the disk what the database has had its time to confirm and did not.
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
        let mut outcome = std::fs::File::open(&self.0.directory).and_then(|directory| directory.sync_all());
        for (number, file, bytes) in due {
            outcome = outcome.and(file.sync_data());
            let mut state = self.state();
            // Also after a failure: the kernel tells it once, and says yes to the next try without having done it.
            if let Some(segment) = state.segment(number) {
                segment.synced = bytes;
            }
        }
        if let Err(error) = outcome {
            self.note(Fault::Sync(error));
        }
    }

    /// Removes what the database has and brings the rest to the disk, for the next start. Gives how many records rest.
    pub(in crate::service::usage) fn close(&self) -> u64 {
        let segments: Vec<_> = {
            let mut state = self.state();
            state.commit();
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

    fn tell_recovery(&self) {
        self.0.up.set(1.0);
        tracing::warn!(target: "mapleai::lifecycle", directory = %self.0.directory.display(), "the usage journal is written again");
    }
}
