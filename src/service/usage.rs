//! Metering: records on their way to the database, and reports made from them.

pub mod journal;
mod replay;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{NaiveDate, TimeDelta};
use metrics::{Counter, counter};
use tokio::sync::{Mutex, mpsc};

use self::journal::{Journal, Place};
use super::{
    caches::{self, Caches, RememberedSums},
    field::{Faults, FieldFault},
};
use crate::{
    domain::{
        clock::Clock,
        ids::{ApiKeyId, OrganizationId},
        usage::{KeySum, UsageRecord, UsageSums, UsageTotals},
    },
    store::{self, StoreError},
    telemetry::metrics::REFUSALS,
    turn::BeforeWrite,
};

/// Longest span of a report, in days.
const LONGEST_SPAN: i64 = 366;
/// Days, models and keys that a report has a line for.
const MOST_LINES: i64 = 20_000;

#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error("some fields were refused")]
    Invalid(Vec<FieldFault>),
    #[error("the span has more than {MOST_LINES} models and keys")]
    TooMuch,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SharedStore(#[from] Arc<StoreError>),
}

/// Between two looks at what has come in.
const NAP: Duration = Duration::from_millis(10);

/// More records wait for the database than are allowed to; serving more would mean serving them unrecorded.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("too many usage records are waiting for the database")]
pub struct BacklogFull;

/// A place in the queue, taken before the call is made, so that its record cannot be lost to a full queue.
pub struct UsageSlot {
    permit: mpsc::OwnedPermit<Queued>,
    journal: Option<Journal>,
}

impl UsageSlot {
    /// What is written to a client after this is written after the record has come into the journal: see [`BeforeWrite`].
    ///
    /// [`BeforeWrite`]: crate::turn::BeforeWrite
    pub fn send(self, record: UsageRecord) {
        let place = self.journal.as_ref().and_then(|journal| journal.append(&record));
        self.permit.send(Queued { record, place });
    }
}

struct Queued {
    record: UsageRecord,
    /// Where in the journal it is, if it is there.
    place: Option<Place>,
}

/// What was consumed in a span of days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    pub from: NaiveDate,
    pub to: NaiveDate,
    pub totals: UsageTotals,
    pub by_day: BTreeMap<NaiveDate, UsageTotals>,
    pub by_model: BTreeMap<String, UsageTotals>,
    /// `None` is what people asked on the page.
    pub by_key: BTreeMap<Option<ApiKeyId>, (Option<String>, UsageTotals)>,
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
    places: BTreeMap<Place, u64>,
}

impl Usage {
    /// `capacity` records may wait, and are written `batch_size` at a time. With a journal they outlive the process.
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
            places: BTreeMap::new(),
        };
        Self {
            store,
            caches,
            clock,
            queue: sender,
            waiting: Arc::new(Mutex::new(waiting)),
            batch_size: batch_size.max(1),
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
        Ok(UsageSlot {
            permit,
            journal: self.journal.clone(),
        })
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

    /// Waits up to `patience` for a batch to fill, unless there is one that could not be written. May be cut off.
    pub async fn gather(&self, patience: Duration) {
        let mut waiting = self.waiting.lock().await;
        let Waiting {
            queue,
            incoming,
            batch,
            places,
        } = &mut *waiting;
        if !batch.is_empty() {
            return;
        }
        let deadline = tokio::time::Instant::now() + patience;
        while batch.len() < self.batch_size {
            let room = self.batch_size - batch.len();
            match tokio::time::timeout_at(deadline, queue.recv_many(incoming, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            // Of answers that nobody waits for any more, too.
            if let Some(journal) = &self.journal {
                journal.commit();
            }
            for Queued { record, place } in incoming.drain(..) {
                batch.push(record);
                if let Some(place) = place {
                    *places.entry(place).or_default() += 1;
                }
            }
            // Whoever waits for each record is woken by each: under load that costs more than carrying it.
            if batch.len() < self.batch_size {
                tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + NAP)).await;
            }
        }
    }

    /// Writes what was gathered. On failure the batch is kept for the next call, and since inserting ignores what is
    /// there already, none is written twice. Gives how many were written.
    pub async fn write(&self) -> Result<usize, StoreError> {
        let mut waiting = self.waiting.lock().await;
        let Waiting { batch, places, .. } = &mut *waiting;
        if batch.is_empty() {
            return Ok(0);
        }
        self.store.insert(batch).await?;
        let written = batch.len();
        batch.clear();
        while let (Some(journal), Some((place, count))) = (&self.journal, places.pop_first()) {
            journal.confirm(place, count);
        }
        Ok(written)
    }

    /// What a connection to a client has to do before it writes.
    pub fn before_write(&self) -> impl BeforeWrite + Clone + use<> {
        self.journal.clone()
    }

    /// The journal's regular work, every [`journal::TEND_INTERVAL`].
    pub async fn tend_journal(&self) {
        if let Some(journal) = self.journal.clone().filter(|journal| !journal.is_idle()) {
            // A panic in it is a bug that the next call meets again; it must not end the service.
            let _ = tokio::task::spawn_blocking(move || journal.tend()).await;
        }
    }

    /// Ends the journal. What the database has is removed from the disk; the rest, of which the number is given, is for
    /// the next start.
    pub async fn close_journal(&self) -> u64 {
        let Some(journal) = self.journal.clone() else { return 0 };
        tokio::task::spawn_blocking(move || journal.close()).await.unwrap_or(0)
    }

    /// Sums the caller's organisation from `from` to `to`, both included; the last 30 days if not said.
    pub async fn report(
        &self,
        organization: OrganizationId,
        from: Option<NaiveDate>,
        to: Option<NaiveDate>,
    ) -> Result<UsageReport, UsageError> {
        let to = to.unwrap_or_else(|| self.clock.now().date_naive());
        let from = from
            .or_else(|| to.checked_sub_signed(TimeDelta::days(29)))
            .unwrap_or(to);
        let mut faults = Faults::default();
        let stored = |day: NaiveDate| (1970..10_000).contains(&chrono::Datelike::year(&day));
        if !stored(from) || !stored(to) {
            faults.add("from", "must be a day between 1970-01-01 and 9999-12-31");
        } else if from > to {
            faults.add("from", "must not be after to");
        } else if (to - from).num_days() >= LONGEST_SPAN {
            faults.add("from", format!("must be less than {LONGEST_SPAN} days before to"));
        }
        if !faults.is_empty() {
            return Err(UsageError::Invalid(faults.into_vec()));
        }
        let mut report = UsageReport {
            from,
            to,
            totals: UsageTotals::default(),
            by_day: BTreeMap::new(),
            by_model: BTreeMap::new(),
            by_key: BTreeMap::new(),
        };
        for sums in self.sums(organization, from, to).await? {
            report.add(&sums);
        }
        Ok(report)
    }

    /// Days that are over are remembered; a day that is not is always read anew, which costs a row for each model and key.
    async fn sums(
        &self,
        organization: OrganizationId,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<Arc<UsageSums>>, UsageError> {
        let today = self.clock.now().date_naive();
        let mut parts = Vec::with_capacity(2);
        let over = to.min(today.pred_opt().unwrap_or(today));
        if from <= over && over < today {
            let store = self.store.clone();
            let sum = || async move {
                let sums = store.sums(organization, from, over, MOST_LINES).await?;
                Ok(sums.map(|sums| RememberedSums(Arc::new(sums))))
            };
            let key = caches::usage_key(organization, from, over);
            let remembered = self.caches.usage.get_or_load(key, sum).await?;
            parts.push(remembered.ok_or(UsageError::TooMuch)?.0);
        }
        if to >= today {
            let now = self.store.sums(organization, from.max(today), to, MOST_LINES).await?;
            parts.push(Arc::new(now.ok_or(UsageError::TooMuch)?));
        }
        Ok(parts)
    }
}

impl UsageReport {
    fn add(&mut self, sums: &UsageSums) {
        for (day, totals) in &sums.days {
            self.totals += *totals;
            *self.by_day.entry(*day).or_default() += *totals;
        }
        for (model, totals) in &sums.models {
            *self.by_model.entry(model.clone()).or_default() += *totals;
        }
        for KeySum { key, name, totals } in &sums.keys {
            let line = self.by_key.entry(*key).or_default();
            line.0 = line.0.take().or_else(|| name.clone());
            line.1 += *totals;
        }
    }
}
