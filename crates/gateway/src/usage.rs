//! Metering: usage records on their way to the database, and reports made from them.

pub mod journal;
mod replay;
mod report;
mod slot;

use std::{sync::Arc, time::Duration};

use metrics::{Counter, counter};
use tokio::sync::{Mutex, mpsc};

use self::journal::{EntryNumber, Journal};
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

/// Between two checks for new records.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The limit of records that wait for the database is reached; further calls could not be recorded.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("too many usage records are waiting for the database")]
pub struct BacklogFull;

struct Queued {
    record: UsageRecord,
    /// Its number in the journal, if it is journalled.
    entry: Option<EntryNumber>,
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

/// The reading end. `batch` keeps records that the database has not confirmed.
struct Waiting {
    queue: mpsc::Receiver<Queued>,
    incoming: Vec<Queued>,
    batch: Vec<UsageRecord>,
    /// The numbers of the batch's records in the journal.
    entries: Vec<EntryNumber>,
    /// Number of records per insert. Halved when an insert fails, since it may be too many for the statement timeout, and
    /// doubled when it succeeds.
    piece: usize,
    /// How often a single record has been refused for its contents.
    refusals: u32,
}

impl Usage {
    /// `capacity` records may wait, and are written once there are `batch_size`. With a journal they survive the process.
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
            entries: Vec::new(),
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

    /// Reserves a slot for one record.
    pub fn reserve(&self) -> Result<UsageSlot, BacklogFull> {
        let permit = self.queue.clone().try_reserve_owned().map_err(|_| {
            self.refused.increment(1);
            BacklogFull
        })?;
        Ok(UsageSlot::new(permit, self.journal.clone()))
    }

    /// Number of waiting records, without the batch being written.
    pub fn backlog(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Number of records that the database has not confirmed, without a batch that is being written.
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
            entries,
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
            for Queued { record, entry } in incoming.drain(..) {
                batch.push(record);
                entries.extend(entry);
            }
            // Waiting for each record would wake this task for each: under load that costs more than carrying it.
            if batch.len() < self.batch_size {
                tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + POLL_INTERVAL)).await;
            }
        }
    }

    /// Writes the gathered batch, or a part of it after a failure. Call it until nothing is left: unwritten records are
    /// kept, and since inserting ignores existing ids, none is written twice. Returns the number of written records.
    pub async fn write(&self) -> Result<usize, StoreError> {
        let mut waiting = self.waiting.lock().await;
        let Waiting {
            incoming,
            batch,
            entries,
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
            // Gives back capacity that only a backlog needed.
            incoming.shrink_to(4 * self.batch_size);
            batch.shrink_to(4 * self.batch_size);
            if let Some(journal) = &self.journal {
                journal.confirm(entries);
            }
            entries.clear();
            entries.shrink_to(4 * self.batch_size);
        }
        Ok(count)
    }

    /// Sets a record aside that the database refuses for good, in the journal's folder, so that the rest goes on. Without a
    /// journal it is logged.
    async fn give_up(&self, record: &UsageRecord, error: StoreError) -> Result<(), StoreError> {
        if let Some(journal) = &self.journal {
            return replay::set_aside(journal, record, &error).await.map_err(|_| error);
        }
        counter!(USAGE_SET_ASIDE).increment(1);
        tracing::error!(target: "mapleai::usage", error = %error_chain(&error), record = ?record, "the database refuses a usage record; it is given up");
        Ok(())
    }

    /// For a process that ends at once: the next start charges what calls in flight have delivered.
    pub async fn mark_calls(&self) {
        if let Some(journal) = &self.journal {
            journal.mark_all_calls().await;
        }
    }

    /// Whether every call is refused, since the limit of waiting records is reached.
    pub fn is_full(&self) -> bool {
        self.queue.capacity() == 0
    }

    /// Why waiting records would be lost if the process were killed now, although a journal is configured.
    pub fn journal_fault(&self) -> Option<String> {
        self.journal.as_ref()?.fault()
    }

    /// Releases responses that wait for a stalled disk: every [`journal::WATCH_INTERVAL`].
    pub fn watch_journal(&self) {
        if let Some(journal) = &self.journal {
            journal.watch();
        }
    }

    /// The condition for socket writes to clients.
    pub fn before_write(&self) -> impl PreWriteHook + Clone + use<> {
        self.journal.clone()
    }

    /// Opens the journal: from then on records are journalled. If that is not possible, it is tried again.
    pub async fn open_journal(&self) {
        if let Some(journal) = &self.journal {
            journal.open().await;
        }
    }

    /// Closes the journal. Removes what the database has; the rest is for the next start. Returns the number of remaining
    /// records.
    pub async fn close_journal(&self) -> u64 {
        match &self.journal {
            Some(journal) => journal.close().await,
            None => 0,
        }
    }
}
