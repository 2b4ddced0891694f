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
mod tend;
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

use self::state::State;
pub(crate) use self::{
    reader::{Findings, Reader},
    segment::Leftover,
};
use crate::{
    domain::usage::UsageRecord,
    telemetry::metrics::{USAGE_JOURNAL_BYTES, USAGE_JOURNAL_UP},
    turn::BeforeWrite,
};

/// Between two calls of [`Journal::tend`]. A record is sealed within one, and synced within two unless the database has
/// it: a lost machine costs less than a second of records.
pub const TEND_INTERVAL: Duration = Duration::from_millis(300);
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
}

/// No answer leaves before its record is safe.
impl BeforeWrite for Option<Journal> {
    fn before_write(&self) {
        if let Some(journal) = self {
            journal.commit();
        }
    }
}
