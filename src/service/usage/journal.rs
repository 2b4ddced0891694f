//! A local journal of usage records: what the database has not confirmed survives the process's death.
//!
//! A record is in the page cache, which a killed process leaves intact, before its answer's last byte leaves: it is
//! appended to what is pending, and whoever writes to a client commits that first, with one `write` for all whose answers
//! go out together. Nothing is read back while all goes well. Twice a second or more often the open segment is sealed and
//! a new one opened; a sealed segment goes as soon as the database has all its records, which is mostly before it would
//! have had to be synced to the disk. What is left over by a process that died is inserted by the next one
//! ([`Leftover`]); a record has its id from the start, so none is inserted twice.
//!
//! The disk is never waited for, and its failure stops nobody: records then travel as they would without a journal, and
//! the disk is tried again every two seconds.

mod codec;
mod reader;
mod segment;
mod state;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metrics::{Gauge, gauge};
use uuid::Uuid;

pub(crate) use self::{
    reader::{Findings, Reader},
    segment::Leftover,
};
use self::{segment::Segment, state::State};
use crate::{
    domain::usage::UsageRecord,
    telemetry::metrics::{USAGE_JOURNAL_BYTES, USAGE_JOURNAL_UP},
    turn::BeforeWrite,
};

/// Between two calls of [`Journal::tend`]. A record is sealed within one, and synced within two unless the database has
/// it: a lost machine costs less than a second of records.
pub const TEND_INTERVAL: Duration = Duration::from_millis(300);
/// A segment is sealed at this size though others still wait for the database. Few files, and none kept long for one record.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// Why records are not journalled.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the segment cannot be made")]
    Create(#[source] io::Error),
    #[error("the segment cannot be written")]
    Write(#[source] io::Error),
    #[error("the segment cannot be synced")]
    Sync(#[source] io::Error),
    #[error("it has reached usage.journal_max_bytes, {0}")]
    Full(u64),
}

/// Which segment a record is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

/// A cheap clone. Its methods other than [`Journal::append`], [`Journal::commit`] and [`Journal::confirm`] wait for the disk.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

struct Shared {
    directory: PathBuf,
    /// Marks this process's segments.
    owner: Uuid,
    max_bytes: u64,
    state: Mutex<State>,
    /// Something is pending. Cleared with `state` locked, and after it has been written: whoever sees it unset may rely on
    /// what was appended before.
    is_pending: AtomicBool,
    up: Gauge,
    bytes: Gauge,
}

impl Journal {
    /// A journal in `directory`, which is made if need be, of at most `max_bytes`. Opens nothing: the first
    /// [`Journal::tend`] does.
    pub fn new(directory: &Path, max_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            directory: directory.to_owned(),
            owner: Uuid::now_v7(),
            max_bytes,
            state: Mutex::default(),
            is_pending: AtomicBool::new(false),
            up: gauge!(USAGE_JOURNAL_UP),
            bytes: gauge!(USAGE_JOURNAL_BYTES),
        }))
    }

    /// Takes a record, unless the journal is down. It outlives the process from the next [`Journal::commit`] on. For the hot
    /// path: one short lock, no system call.
    pub(super) fn append(&self, record: &UsageRecord) -> Option<Place> {
        let mut state = self.state();
        let was_well = state.fault.is_none();
        let place = state.append(record, self.0.max_bytes);
        if state.is_crowded() {
            state.commit();
        }
        self.0.is_pending.store(state.is_pending(), Ordering::Release);
        if was_well {
            self.tell_fault(&state);
        }
        place
    }

    /// Brings what was appended into the page cache: one small write, or a look at a flag if there is nothing.
    pub(super) fn commit(&self) {
        if !self.0.is_pending.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.state();
        let was_well = state.fault.is_none();
        state.commit();
        self.0.is_pending.store(false, Ordering::Release);
        if was_well {
            self.tell_fault(&state);
        }
    }

    /// The database has `count` records of this place.
    pub(super) fn confirm(&self, place: Place, count: u64) {
        if let Some(segment) = self.state().segment(place.0) {
            segment.waiting = segment.waiting.saturating_sub(count);
        }
    }

    /// Whether [`Journal::tend`] would do anything.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.fault.is_none()
            && !state.is_pending()
            && state.sealed.is_empty()
            && state.open.as_ref().is_some_and(|open| open.bytes == 0)
    }

    /// The regular work: seal, remove, sync, recover.
    pub(super) fn tend(&self) {
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

    /// What processes that died left behind. Counts towards the limit until [`Journal::forget`].
    pub(super) fn leftovers(&self) -> io::Result<Vec<Leftover>> {
        let found = Leftover::scan(&self.0.directory, self.0.owner)?;
        self.state().left_over = found.iter().map(|one| one.bytes).sum();
        Ok(found)
    }

    /// Removes a leftover whose records the database has.
    pub(super) fn forget(&self, leftover: &Leftover) -> io::Result<()> {
        leftover.remove()?;
        let mut state = self.state();
        state.left_over = state.left_over.saturating_sub(leftover.bytes);
        Ok(())
    }

    /// Removes what the database has and brings the rest to the disk, for the next start. Gives how many records rest.
    pub(super) fn close(&self) -> u64 {
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_fault(&self, state: &State) {
        let Some(fault) = &state.fault else { return };
        self.0.up.set(0.0);
        let cause = std::error::Error::source(fault).map(ToString::to_string);
        tracing::error!(
            target: "mapleai::lifecycle", directory = %self.0.directory.display(), error = %fault, cause,
            "no usage journal: records that wait for the database are lost if the process is killed"
        );
    }

    fn tell_recovery(&self) {
        self.0.up.set(1.0);
        tracing::warn!(target: "mapleai::lifecycle", directory = %self.0.directory.display(), "the usage journal is written again");
    }
}

/// No answer leaves before its record is safe.
impl BeforeWrite for Option<Journal> {
    fn before_write(&self) {
        if let Some(journal) = self {
            journal.commit();
        }
    }
}
