//! A local journal of usage records: records that the database has not confirmed survive the death of the process.
//!
//! A record is in the page cache, which survives a killed process, before the last byte of its response is sent: it is
//! appended to the pending records, and a socket write first waits for the writer, a separate thread, which writes all
//! pending records with one `write`. Nothing is read back in normal operation. The open segment is sealed twice a second or
//! more often, and a new one opened; a sealed segment is removed as soon as the database has all its records, mostly before
//! it would have to be synced. Segments of a dead process are inserted by the next one ([`OrphanedSegment`]); a record has
//! its id from the start, so none is inserted twice.
//!
//! A stalled disk delays responses for [`STALLED`] at most and blocks no serving thread. A failed disk blocks nothing:
//! records then travel as they would without a journal, and the disk is tried again every two seconds.

mod calls;
mod codec;
mod maintenance;
mod reader;
mod segment;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{Gauge, gauge};
use uuid::Uuid;

pub(in crate::usage) use self::calls::LiveCall;
pub use self::calls::Opened;
use self::{
    calls::Calls,
    state::{Stage, State},
};
pub(crate) use self::{
    reader::{Findings, Reader},
    segment::OrphanedSegment,
};
use domain::usage::UsageRecord;
use telemetry::{
    error_chain,
    metrics::{USAGE_JOURNAL_BYTES, USAGE_JOURNAL_UP},
};

/// Limit of one write. Beyond it the disk counts as stalled: waiting responses proceed, and records are not journalled
/// until the write has finished.
const STALLED: Duration = Duration::from_millis(200);
/// Between two calls of [`Journal::watch`]: how much longer than [`STALLED`] a response may have to wait.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// Between two calls of [`Journal::maintain`]. A record is sealed within one, and synced within two unless the database has
/// it: a lost machine costs less than a second of records.
pub const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(300);
/// Why records are not journalled.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the segment cannot be made")]
    Create(#[source] io::Error),
    #[error("the segment cannot be written")]
    Write(#[source] io::Error),
    #[error("the segment cannot be synced")]
    Sync(#[source] io::Error),
    #[error("the disk has not taken a write for {STALLED:?}")]
    Stalled,
    #[error("there is no thread to write with")]
    Thread(#[source] io::Error),
    #[error("it has reached usage.journal_max_bytes, {0}")]
    Full(u64),
}

/// The segment that a record is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentId(u64);

/// A cheap clone. Its methods other than [`Journal::append`], [`Journal::commit`], [`Journal::confirm`] and
/// [`Journal::watch`] wait for the disk.
#[derive(Clone)]
pub struct Journal(Arc<Handle>);

/// Stops the writer when its last clone is dropped. The writer itself holds only a `JournalInner`.
struct Handle(Arc<JournalInner>);

pub struct JournalInner {
    directory: PathBuf,
    /// Identifies this process's segments.
    owner: Uuid,
    max_bytes: u64,
    state: Mutex<State>,
    calls: Arc<Calls>,
    /// Notified when there is work for the writer.
    asked: Condvar,
    /// Notified when the writer has finished a write.
    done: Condvar,
    /// Number of records ever appended. Changed with `state` locked.
    appended: AtomicU64,
    /// Number of those that are in the page cache, or given up. Responses need not wait for them.
    safe: AtomicU64,
    up: Gauge,
    bytes: Gauge,
}

impl std::ops::Deref for Journal {
    type Target = JournalInner;

    fn deref(&self) -> &JournalInner {
        &self.0.0
    }
}

impl Journal {
    /// A journal in `directory`, which is created if necessary, of at most `max_bytes`. Opens nothing: the first
    /// [`Journal::maintain`] does.
    pub fn new(directory: &Path, max_bytes: u64) -> Self {
        let shared = Arc::new(JournalInner {
            directory: directory.to_owned(),
            owner: Uuid::now_v7(),
            max_bytes,
            state: Mutex::default(),
            calls: Arc::default(),
            asked: Condvar::new(),
            done: Condvar::new(),
            appended: AtomicU64::new(0),
            safe: AtomicU64::new(0),
            up: gauge!(USAGE_JOURNAL_UP),
            bytes: gauge!(USAGE_JOURNAL_BYTES),
        });
        if let Err(error) = writer::start(&shared) {
            let mut state = shared.state();
            state.closed = true;
            state.stage = Stage::Gone;
            state.fail(Fault::Thread(error));
            shared.log_fault(&state);
        }
        Self(Arc::new(Handle(shared)))
    }

    /// Appends a record, unless the journal is down. It survives the process once the writer has written it
    /// ([`Journal::commit`]). For the hot path: one short lock, no system call.
    pub(super) fn append(&self, record: &UsageRecord) -> Option<SegmentId> {
        let mut state = self.state();
        let was_working = state.fault.is_none();
        let segment = state.append(record, self.max_bytes);
        if segment.is_some() {
            self.appended.fetch_add(1, Ordering::Release);
        }
        if state.is_over_wake_limit() {
            self.ask(&mut state);
        }
        if was_working {
            self.log_fault(&state);
        }
        segment
    }

    /// Begins a call, which ends when the result is dropped.
    pub(super) fn begin(&self, opened: Opened) -> LiveCall {
        self.calls.begin(opened)
    }

    /// Confirms that the database has `count` records of this segment.
    pub(super) fn confirm(&self, segment: SegmentId, count: u64) {
        if let Some(segment) = self.state().segment(segment.0) {
            segment.waiting = segment.waiting.saturating_sub(count);
        }
    }

    /// Whether [`Journal::maintain`] would do anything.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.fault.is_none()
            && !self.is_behind()
            && self.calls.is_idle()
            && state.sealed.is_empty()
            && state.open.as_ref().is_some_and(|open| open.bytes == 0)
    }

    /// Files of dead processes, except those that are `kept` for other instances. They count towards the limit until
    /// [`Journal::forget`].
    pub(super) fn orphans(&self, kept: &BTreeSet<PathBuf>) -> io::Result<Vec<OrphanedSegment>> {
        let mut found = OrphanedSegment::scan(&self.directory, self.owner)?;
        found.retain(|one| !kept.contains(&one.path));
        self.state().left_over = found.iter().map(|one| one.bytes).sum();
        Ok(found)
    }

    /// Moves aside a file that could not be read completely, for a person to examine. It is not read again and does not
    /// count.
    pub(super) fn set_aside(&self, orphan: &OrphanedSegment) -> io::Result<PathBuf> {
        let path = orphan.set_aside()?;
        let mut state = self.state();
        state.left_over = state.left_over.saturating_sub(orphan.bytes);
        Ok(path)
    }

    /// Keeps a record that the database refuses, for a person to examine.
    pub(super) fn set_record_aside(&self, record: &UsageRecord) -> io::Result<PathBuf> {
        let mut frame = Vec::new();
        codec::encode(record, &mut frame).map_err(io::Error::other)?;
        let path = self
            .directory
            .join(format!("{}-refused.{}", self.owner, segment::SET_ASIDE));
        let mut file = File::options().create(true).append(true).open(&path)?;
        file.write_all(&frame)?;
        file.sync_all()?;
        Ok(path)
    }

    /// Removes an orphan whose records the database has.
    pub(super) fn forget(&self, orphan: &OrphanedSegment) -> io::Result<()> {
        orphan.remove()?;
        let mut state = self.state();
        state.left_over = state.left_over.saturating_sub(orphan.bytes);
        Ok(())
    }
}

impl JournalInner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fault(&self) -> Option<String> {
        let state = self.state();
        state.fault.as_ref().map(|fault| error_chain(fault))
    }

    fn log_fault(&self, state: &State) {
        let Some(fault) = &state.fault else { return };
        self.up.set(0.0);
        let cause = std::error::Error::source(fault).map(ToString::to_string);
        tracing::error!(
            target: "mapleai::lifecycle", directory = %self.directory.display(), error = %fault, cause,
            "no usage journal: records that wait for the database are lost if the process is killed"
        );
    }
}
