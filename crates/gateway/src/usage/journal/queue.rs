//! What serving threads and the journal's thread share: a bounded queue of records, and who waits for them.
//!
//! A vector behind a lock and not a library's channel, which wakes its reader for every entry: this one is filled without
//! waking anybody. Only a connection that is about to write wakes the thread, and by then all connections that are ready
//! together have appended their records (decision 0016).

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use metrics::{Gauge, gauge};
use uuid::Uuid;

use super::{EntryNumber, Fault, Journal, STALLED, calls::Calls, codec, writer::Writer};
use concurrency::write_coalescing::PreWriteHook;
use domain::usage::UsageRecord;
use telemetry::{error_chain, metrics::USAGE_JOURNAL_UP};

/// Between two attempts after a disk failure.
const RETRY: Duration = Duration::from_secs(2);
/// Beyond this many bytes the thread is woken: normally the next socket write does it, but all clients may have disconnected.
const WAKE_WRITER_ABOVE: usize = 64 * 1024;
/// More bytes (some 40,000 records at most) are in the queue only if the disk accepts no writes.
const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;

/// Work for the journal's thread.
pub(super) type Request = Box<dyn FnOnce(&mut Writer) + Send>;

#[derive(Default)]
pub(super) struct Queue {
    /// Frames of records, one after the other.
    pub(super) frames: Vec<u8>,
    /// The number of the next record.
    pub(super) next: u64,
    /// Records that the database has. Each was appended and is confirmed once, so there are no more than records that wait for
    /// the database.
    pub(super) confirmed: Vec<EntryNumber>,
    /// Connections that wait until so many records are safe.
    pub(super) waiters: Vec<(u64, Waker)>,
    requests: Vec<Request>,
    /// The thread has something to do.
    asked: bool,
    /// When the thread began what it is doing; `None` while it waits for work.
    pub(super) busy_since: Option<Instant>,
    /// Whether records are taken: there is an open segment, and no fault.
    pub(super) accepts: bool,
    pub(super) fault: Option<Fault>,
    pub(super) retry_at: Option<Instant>,
}

pub struct JournalInner {
    pub(super) directory: PathBuf,
    /// Identifies this process's files.
    pub(super) owner: Uuid,
    pub(super) calls: Arc<Calls>,
    /// Bytes of segments that other processes left.
    pub(super) orphaned_bytes: AtomicU64,
    queue: Mutex<Queue>,
    /// Notified when there is work for the thread.
    work: Condvar,
    /// Number of records ever appended. Changed with `queue` locked.
    appended: AtomicU64,
    /// Number of those that are in the page cache, or given up. Responses need not wait for them.
    safe: AtomicU64,
    up: Gauge,
}

impl JournalInner {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            owner: Uuid::now_v7(),
            calls: Arc::default(),
            orphaned_bytes: AtomicU64::new(0),
            queue: Mutex::default(),
            work: Condvar::new(),
            appended: AtomicU64::new(0),
            safe: AtomicU64::new(0),
            up: gauge!(USAGE_JOURNAL_UP),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a record, unless the journal is down. It survives the process once the thread has written it
    /// ([`Self::commit`]). For the hot path: one short lock, no system call.
    pub(in crate::usage) fn append(&self, record: &UsageRecord) -> Option<EntryNumber> {
        let mut queue = self.queue();
        if !queue.accepts {
            return None;
        }
        // Only a record longer than any catalogue allows fails to encode: that record is lost, the journal goes on.
        codec::encode(record, &mut queue.frames).ok()?;
        let number = EntryNumber(queue.next);
        queue.next += 1;
        self.appended.store(queue.next, Ordering::Release);
        if queue.frames.len() > MAX_QUEUED_BYTES {
            self.fail_with(&mut queue, Fault::Stalled);
        } else if queue.frames.len() > WAKE_WRITER_ABOVE {
            self.wake(&mut queue);
        }
        Some(number)
    }

    /// Confirms that the database has these records.
    pub(in crate::usage) fn confirm(&self, entries: &[EntryNumber]) {
        self.queue().confirmed.extend_from_slice(entries);
    }

    /// Has the appended records written into the page cache, without waiting.
    pub(in crate::usage) fn commit(&self) {
        if self.is_behind() {
            self.wake(&mut self.queue());
        }
    }

    /// Releases the connections that wait for a stalled disk. Called every [`super::WATCH_INTERVAL`]; never waits.
    pub(in crate::usage) fn watch(&self) {
        if !self.is_behind() {
            return;
        }
        let mut queue = self.queue();
        if queue.busy_since.is_none_or(|since| since.elapsed() <= STALLED) {
            return;
        }
        if queue.fault.is_none() {
            self.fail_with(&mut queue, Fault::Stalled);
        }
        let appended = queue.next;
        drop(queue);
        self.release(appended);
    }

    pub(in crate::usage) fn fault(&self) -> Option<String> {
        let queue = self.queue();
        queue.fault.as_ref().map(|fault| error_chain(fault))
    }

    pub(super) fn request(&self, request: Request) {
        let mut queue = self.queue();
        queue.requests.push(request);
        self.wake(&mut queue);
    }

    /// For the thread: waits for work, until `round` at most.
    pub(super) fn wait_for_work(&self, round: Instant) -> Vec<Request> {
        let mut queue = self.queue();
        queue.busy_since = None;
        while !queue.asked
            && let Some(left) = round.checked_duration_since(Instant::now())
        {
            let waited = self.work.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.asked = false;
        queue.busy_since = Some(Instant::now());
        std::mem::take(&mut queue.requests)
    }

    /// Counts the first `written` records as safe, and wakes the connections that wait for them.
    pub(super) fn release(&self, written: u64) {
        let safe = self.safe.fetch_max(written, Ordering::AcqRel).max(written);
        let due: Vec<_> = {
            let mut queue = self.queue();
            queue.waiters.extract_if(.., |(mark, _)| *mark <= safe).collect()
        };
        for (_, waker) in due {
            waker.wake();
        }
    }

    /// From now on records are not journalled; the log says so once.
    pub(super) fn fail(&self, fault: Fault) {
        self.fail_with(&mut self.queue(), fault);
    }

    fn fail_with(&self, queue: &mut Queue, fault: Fault) {
        queue.accepts = false;
        queue.retry_at = Some(Instant::now() + RETRY);
        if queue.fault.is_none() {
            self.up.set(0.0);
            let cause = std::error::Error::source(&fault).map(ToString::to_string);
            tracing::error!(
                target: "mapleai::lifecycle", directory = %self.directory.display(), error = %fault, cause,
                "no usage journal: records that wait for the database are lost if the process is killed"
            );
        }
        queue.fault = Some(fault);
    }

    /// There is an open segment.
    pub(super) fn accept(&self) {
        let mut queue = self.queue();
        queue.accepts = true;
        self.up.set(1.0);
        if queue.fault.take().is_some() {
            tracing::warn!(target: "mapleai::lifecycle", directory = %self.directory.display(), "the usage journal is written again");
        }
    }

    /// Whether an appended record is not safe yet.
    pub(super) fn is_behind(&self) -> bool {
        self.safe.load(Ordering::Acquire) < self.appended.load(Ordering::Acquire)
    }

    /// Wakes the thread, unless it has been woken already.
    fn wake(&self, queue: &mut Queue) {
        if !std::mem::replace(&mut queue.asked, true) {
            self.work.notify_one();
        }
    }
}

/// A response is written only after its record is safe.
impl PreWriteHook for Journal {
    fn mark(&self) -> Option<u64> {
        self.is_behind().then(|| self.appended.load(Ordering::Acquire))
    }

    fn is_done(&self, mark: u64) -> bool {
        self.safe.load(Ordering::Acquire) >= mark
    }

    fn wake_when_done(&self, mark: u64, waker: &Waker) -> bool {
        let mut queue = self.queue();
        if self.is_done(mark) {
            return false;
        }
        queue.waiters.push((mark, waker.clone()));
        self.wake(&mut queue);
        true
    }
}
