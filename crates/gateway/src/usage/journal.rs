//! A local journal of usage records: records that the database has not confirmed survive the death of the process.
//!
//! A record is in the page cache, which survives a killed process, before the last byte of its response is sent: it is
//! appended to a queue, and a socket write first waits until the journal's thread has taken the queue and written it, all of
//! it with one `write`. That thread owns the files, and nobody else touches them. Nothing is read back in normal operation.
//! The open segment is sealed twice a second or more often, and a new one opened; a sealed segment is removed as soon as the
//! database has all its records, mostly before it would have to be synced. Segments of a dead process are inserted by the next
//! one ([`OrphanedSegment`]); a record has its id from the start, so none is inserted twice.
//!
//! A stalled disk delays responses for [`STALLED`] at most and blocks no serving thread. A failed disk blocks nothing:
//! records then travel as they would without a journal, and the disk is tried again every two seconds.

mod calls;
mod codec;
mod maintenance;
mod queue;
mod reader;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

pub(in crate::usage) use self::calls::LiveCall;
pub use self::calls::Opened;
use self::{queue::JournalInner, writer::Writer};
pub(crate) use self::{
    reader::{Findings, Reader},
    segment::OrphanedSegment,
};
use domain::usage::UsageRecord;

/// Limit on one step of the journal's thread. Beyond it the disk counts as stalled: waiting responses proceed, and records are
/// not journalled until the disk has finished.
const STALLED: Duration = Duration::from_millis(200);
/// Between two calls of [`Journal::watch`]: how much longer than [`STALLED`] a response may have to wait.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// Between two rounds of maintenance. A record is sealed within one, and synced within two unless the database has it: a lost
/// machine costs less than a second of records.
const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(300);
/// Limit on waiting for the thread at the start and at the stop: a disk that hangs guarantees nothing.
const THREAD_LIMIT: Duration = Duration::from_secs(3);

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

/// The number of a record in the journal, in the order of appending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryNumber(u64);

/// A cheap clone. [`Journal::append`], [`Journal::commit`], [`Journal::confirm`] and [`Journal::watch`] never wait for the disk.
#[derive(Clone)]
pub struct Journal(Arc<Handle>);

/// Ends the thread when its last clone is dropped. The thread itself has only the [`JournalInner`].
struct Handle {
    inner: Arc<JournalInner>,
    /// Disconnected once the thread has ended and its files are closed.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

impl std::ops::Deref for Journal {
    type Target = JournalInner;

    fn deref(&self) -> &JournalInner {
        &self.0.inner
    }
}

impl Journal {
    /// A journal in `directory`, which is created if necessary, of at most `max_bytes`. It takes records once it has been
    /// opened ([`Journal::open`], or the first round of maintenance).
    pub fn new(directory: &Path, max_bytes: u64) -> Self {
        Self::start(directory, max_bytes, MAINTENANCE_INTERVAL)
    }

    fn start(directory: &Path, max_bytes: u64, interval: Duration) -> Self {
        let inner = Arc::new(JournalInner::new(directory));
        let writer = Writer::new(Arc::clone(&inner), max_bytes);
        let (alive, ended) = mpsc::channel();
        let thread = thread::Builder::new().name("usage-journal".to_owned());
        let started = thread.spawn(move || {
            writer.run(interval);
            drop(alive);
        });
        if let Err(error) = started {
            inner.fail(Fault::Thread(error));
        }
        Self(Arc::new(Handle {
            inner,
            ended: Mutex::new(ended),
        }))
    }

    /// Runs `work` on the journal's thread, after what has been appended so far is written. Its result does not come if there
    /// is no such thread, and late if the disk hangs.
    fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (result, receiver) = oneshot::channel();
        self.request(Box::new(move |writer| {
            // The caller may have stopped waiting.
            let _ = result.send(work(writer));
        }));
        receiver
    }

    /// The same, waiting for at most [`THREAD_LIMIT`].
    async fn wait_on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Option<T> {
        let result = self.on_thread(work);
        tokio::time::timeout(THREAD_LIMIT, result).await.ok()?.ok()
    }

    /// Opens the first segment, or notes why that is not possible.
    pub(super) async fn open(&self) {
        self.wait_on_thread(Writer::maintain).await;
    }

    /// Marks what all calls have delivered so far, for a process that ends at once.
    pub(super) async fn mark_all_calls(&self) {
        self.wait_on_thread(Writer::mark_all_calls).await;
    }

    /// Removes confirmed segments and syncs the rest for the next start. Returns the number of remaining records.
    pub(super) async fn close(&self) -> u64 {
        self.wait_on_thread(Writer::close).await.unwrap_or(0)
    }

    /// Begins a call, which ends when the result is dropped.
    pub(super) fn begin(&self, opened: Opened) -> LiveCall {
        self.calls.begin(opened)
    }

    /// Files of dead processes, except those that are `kept` for other instances. They count towards the limit until
    /// [`Journal::forget`].
    pub(super) fn orphans(&self, kept: &BTreeSet<PathBuf>) -> io::Result<Vec<OrphanedSegment>> {
        let mut found = OrphanedSegment::scan(&self.directory, self.owner)?;
        found.retain(|one| !kept.contains(&one.path));
        let bytes = found.iter().map(|one| one.bytes).sum();
        self.orphaned_bytes.store(bytes, Ordering::Relaxed);
        Ok(found)
    }

    /// Moves aside a file that could not be read completely, for a person to examine. It is not read again and does not
    /// count.
    pub(super) fn set_aside(&self, orphan: &OrphanedSegment) -> io::Result<PathBuf> {
        let path = orphan.set_aside()?;
        self.discount(orphan);
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
        self.discount(orphan);
        Ok(())
    }

    fn discount(&self, orphan: &OrphanedSegment) {
        let less = |bytes: u64| Some(bytes.saturating_sub(orphan.bytes));
        // Never fails: the closure always gives a value.
        let _ = self
            .orphaned_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

impl Drop for Handle {
    /// Has the rest written, if the disk accepts it, and the locks of the files released.
    fn drop(&mut self) {
        self.inner.request(Box::new(|writer| writer.ends = true));
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(STALLED);
    }
}
