//! Metering: records on their way to the database, and reports made from them.

pub mod journal;
mod replay;
mod report;
mod slot;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use metrics::{Counter, counter};
use tokio::sync::{Mutex, mpsc};

use self::journal::{Journal, SegmentId};
use self::replay::REFUSALS_BEFORE_SET_ASIDE;
pub use self::{
    journal::Opened,
    report::{UsageError, UsageReport},
    slot::UsageSlot,
};
use crate::caches::Caches;
use concurrency::write_coalescing::PreWriteHook;
use configuration::LARGEST_BATCH;
use domain::{clock::Clock, usage::UsageRecord};
use store::{self, StoreError};
use telemetry::{
    error_chain,
    metrics::{REFUSALS, USAGE_SET_ASIDE},
};

/// Between two looks at what has come in.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// For closing the journal, which waits for the disk.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// More records wait for the database than are allowed to; serving more would mean serving them unrecorded.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("too many usage records are waiting for the database")]
pub struct BacklogFull;

struct Queued {
    record: UsageRecord,
    /// Where in the journal it is, if it is there.
    segment: Option<SegmentId>,
}

#[derive(Clone)]
pub struct Usage {
    store: store::usage::Usage,
    caches: Caches,
    clock: Clock,
    queue: mpsc::Sender<Queued>,
    waiting: Arc<Mutex<Waiting>>,
    batch_size: usize,
    journal: Option<Journal>,
    refused: Counter,
}

/// The reading end. `batch` keeps what the database has not confirmed.
struct Waiting {
    queue: mpsc::Receiver<Queued>,
    incoming: Vec<Queued>,
    batch: Vec<UsageRecord>,
    /// How many of the batch are in which part of the journal.
    segments: BTreeMap<SegmentId, u64>,
    /// How many records the database is offered at once. Halved when it does not take them, which may be too many for the
    /// time that a statement has, and doubled when it does.
    piece: usize,
    /// How often a record alone has been refused for what is in it.
    refusals: u32,
}

impl Usage {
    /// `capacity` records may wait, and are written once there are `batch_size`. With a journal they outlive the process.
    pub fn new(
        store: store::usage::Usage,
        caches: Caches,
        clock: Clock,
        capacity: usize,
        batch_size: usize,
        journal: Option<Journal>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let waiting = Waiting {
            queue: receiver,
            incoming: Vec::with_capacity(batch_size),
            batch: Vec::with_capacity(batch_size),
            segments: BTreeMap::new(),
            piece: LARGEST_BATCH,
            refusals: 0,
        };
        Self {
            store,
            caches,
            clock,
            queue: sender,
            waiting: Arc::new(Mutex::new(waiting)),
            batch_size: batch_size.clamp(1, LARGEST_BATCH),
            journal,
            refused: counter!(REFUSALS, "reason" => "usage_backlog"),
        }
    }

    /// Takes a place for one record.
    pub fn reserve(&self) -> Result<UsageSlot, BacklogFull> {
        let permit = self.queue.clone().try_reserve_owned().map_err(|_| {
            self.refused.increment(1);
            BacklogFull
        })?;
        Ok(UsageSlot::new(permit, self.journal.clone()))
    }

    /// Records that wait, not counting the batch being written.
    pub fn backlog(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// All that the database has not confirmed, but for a batch that is being written.
    pub fn unwritten(&self) -> usize {
        let batch = self.waiting.try_lock().map_or(0, |waiting| waiting.batch.len());
        batch + self.backlog()
    }

    /// Waits up to `timeout` for a batch to fill, unless there is one that could not be written. May be cut off.
    ///
    /// More than `batch_size` goes along, up to [`LARGEST_BATCH`], if it has come by then: how many records are written in a second
    /// does not depend on what is configured.
    pub async fn gather(&self, timeout: Duration) {
        let mut waiting = self.waiting.lock().await;
        let Waiting {
            queue,
            incoming,
            batch,
            segments,
            ..
        } = &mut *waiting;
        if !batch.is_empty() {
            return;
        }
        let deadline = tokio::time::Instant::now() + timeout;
        while batch.len() < self.batch_size {
            let room = LARGEST_BATCH - batch.len();
            match tokio::time::timeout_at(deadline, queue.recv_many(incoming, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            // Of answers that nobody waits for any more, too.
            if let Some(journal) = &self.journal {
                journal.commit();
            }
            for Queued { record, segment } in incoming.drain(..) {
                batch.push(record);
                if let Some(segment) = segment {
                    *segments.entry(segment).or_default() += 1;
                }
            }
            // Whoever waits for each record is woken by each: under load that costs more than carrying it.
            if batch.len() < self.batch_size {
                tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + POLL_INTERVAL)).await;
            }
        }
    }

    /// Writes what was gathered, or a piece of it where the database did not take all. Call it until nothing is left: what is
    /// not written is kept, and since inserting ignores what is there already, none is written twice. Gives how many were
    /// written.
    pub async fn write(&self) -> Result<usize, StoreError> {
        let mut waiting = self.waiting.lock().await;
        let Waiting {
            incoming,
            batch,
            segments,
            piece,
            refusals,
            ..
        } = &mut *waiting;
        let count = batch.len().min(*piece);
        if count == 0 {
            return Ok(0);
        }
        match self.store.insert(&batch[..count]).await {
            Ok(()) => {
                *piece = (*piece * 2).min(LARGEST_BATCH);
                *refusals = 0;
            }
            Err(error) => {
                *refusals += u32::from(count == 1 && error.is_about_rows());
                *piece = (count / 2).max(1);
                if *refusals < REFUSALS_BEFORE_SET_ASIDE {
                    return Err(error);
                }
                *refusals = 0;
                self.give_up(&batch[0], error).await?;
            }
        }
        batch.drain(..count);
        if batch.is_empty() {
            // Room that only a backlog needed.
            incoming.shrink_to(4 * self.batch_size);
            batch.shrink_to(4 * self.batch_size);
            while let (Some(journal), Some((segment, count))) = (&self.journal, segments.pop_first()) {
                journal.confirm(segment, count);
            }
        }
        Ok(count)
    }

    /// A record that the database does not take, whatever is done: it is set aside in the journal's folder, so that the rest
    /// goes on. Without a journal the log has it.
    async fn give_up(&self, record: &UsageRecord, error: StoreError) -> Result<(), StoreError> {
        if let Some(journal) = &self.journal {
            return replay::set_aside(journal, record, &error).await.map_err(|_| error);
        }
        counter!(USAGE_SET_ASIDE).increment(1);
        tracing::error!(target: "mapleai::usage", error = %error_chain(&error), record = ?record, "the database refuses a usage record; it is given up");
        Ok(())
    }

    /// For a process that ends at once: what calls under way have delivered is charged by the next start.
    pub async fn mark_calls(&self) {
        let Some(journal) = self.journal.clone() else { return };
        let marking = tokio::task::spawn_blocking(move || journal.mark_all_calls());
        _ = tokio::time::timeout(CLOSE_LIMIT, marking).await;
    }

    /// Whether every call is refused, since no more records may wait.
    pub fn is_full(&self) -> bool {
        self.queue.capacity() == 0
    }

    /// Why records that wait would be lost if the process were killed now, where there should be a journal.
    pub fn journal_fault(&self) -> Option<String> {
        self.journal.as_ref()?.fault()
    }

    /// Lets nobody wait for a disk that has stalled: every [`journal::WATCH_INTERVAL`].
    pub fn watch_journal(&self) {
        if let Some(journal) = &self.journal {
            journal.watch();
        }
    }

    /// What a connection to a client has to do before it writes.
    pub fn before_write(&self) -> impl PreWriteHook + Clone + use<> {
        self.journal.clone()
    }

    /// The journal's regular work, every [`journal::MAINTENANCE_INTERVAL`].
    pub async fn tend_journal(&self) {
        if let Some(journal) = self.journal.clone().filter(|journal| !journal.is_idle()) {
            // A panic in it is a bug that the next call meets again; it must not end the service.
            let _ = tokio::task::spawn_blocking(move || journal.maintain()).await;
        }
    }

    /// Ends the journal. What the database has is removed from the disk; the rest, of which the number is given, is for
    /// the next start.
    pub async fn close_journal(&self) -> u64 {
        let Some(journal) = self.journal.clone() else { return 0 };
        let closing = tokio::task::spawn_blocking(move || journal.close());
        // A disk that hangs keeps nothing that anybody could count on.
        tokio::time::timeout(CLOSE_LIMIT, closing)
            .await
            .map_or(0, |closed| closed.unwrap_or(0))
    }
}
