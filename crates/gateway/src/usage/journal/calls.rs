//! Calls in flight, so that what they have delivered is charged if the process is killed.
//!
//! ```text
//! file:  <owner>.calls, slots of 512 bytes
//! slot:  the frame of a record as it would be if the call ended now, or zeros
//! ```
//!
//! A call has a slot in memory from its start. Maintenance marks long calls in the file, at least [`MARK_INTERVAL`] apart:
//! a short call costs no write at all, and none costs its serving thread more than counting its text. The slot is wiped
//! when the call's own record is in the journal. Both have the same id, so if both are found the record counts: it is
//! inserted first, and a mark only if there is no record.

mod file;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub(super) use file::{CallsFile, read};

use domain::{
    ids::UsageRecordId,
    model::Model,
    tokens::{TokenUsage, estimate},
    usage::{CallOutcome, UsageRecord},
};

pub(super) const EXTENSION: &str = "calls";
/// Between two marks of one call.
const MARK_INTERVAL: Duration = Duration::from_secs(1);
/// Parts with a lock of their own.
pub(super) const SHARDS: usize = 16;

/// What is known when a call starts.
pub struct Opened {
    /// Its record, without consumption and outcome.
    pub record: UsageRecord,
    pub model: Arc<Model>,
    pub input_bytes: usize,
    pub started: Instant,
}

/// A call in flight, as the task that serves it reports it.
struct Live {
    opened: Opened,
    text_bytes: AtomicU64,
}

struct Slot {
    live: Arc<Live>,
    /// The last mark in the file.
    marked: Option<Marked>,
}

#[derive(Clone, Copy)]
struct Marked {
    text_bytes: u64,
    at: Instant,
}

/// A slot in memory and in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotId {
    shard: usize,
    index: usize,
}

#[derive(Default)]
struct Shard {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Finished, but still marked in the file.
    finished: Vec<usize>,
}

#[derive(Default)]
pub(super) struct Calls {
    shards: [Mutex<Shard>; SHARDS],
}

/// The call is in flight while this exists.
pub(in crate::usage) struct LiveCall {
    calls: Arc<Calls>,
    live: Arc<Live>,
    id: SlotId,
}

impl LiveCall {
    /// Of the record that ends it as well.
    pub(in crate::usage) fn id(&self) -> UsageRecordId {
        self.live.opened.record.id
    }

    /// Counts text of the answer.
    pub(in crate::usage) fn note_text(&self, bytes: usize) {
        self.live.text_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for LiveCall {
    fn drop(&mut self) {
        let index = self.id.index;
        let mut shard = self.calls.shard(self.id.shard);
        let slot = shard.slots[index].take();
        if slot.is_some_and(|slot| slot.marked.is_some()) {
            shard.finished.push(index);
        } else {
            shard.free.push(index);
        }
    }
}

impl Slot {
    /// Its record if it ended now, unless the last mark has the same or is too recent.
    fn due(&mut self, now: Instant, at_once: bool) -> Option<UsageRecord> {
        let text_bytes = self.live.text_bytes.load(Ordering::Relaxed);
        if let Some(last) = self.marked
            && (last.text_bytes == text_bytes || (!at_once && now.saturating_duration_since(last.at) < MARK_INTERVAL))
        {
            return None;
        }
        self.marked = Some(Marked { text_bytes, at: now });
        Some(self.live.opened.record_at(now, text_bytes))
    }
}

impl Opened {
    /// A call that delivered nothing is not charged.
    fn record_at(&self, now: Instant, text_bytes: u64) -> UsageRecord {
        let tokens = if text_bytes == 0 {
            TokenUsage::default()
        } else {
            TokenUsage {
                input: estimate(self.input_bytes),
                output: estimate(usize::try_from(text_bytes).unwrap_or(usize::MAX)),
                cached_input: 0,
                estimated: true,
            }
        };
        let latency = now.saturating_duration_since(self.started);
        UsageRecord {
            outcome: CallOutcome::Cancelled,
            tokens,
            cost: self.model.cost(tokens),
            latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            ..self.record.clone()
        }
    }
}

impl Calls {
    fn shard(&self, number: usize) -> MutexGuard<'_, Shard> {
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(self: &Arc<Self>, opened: Opened) -> LiveCall {
        let number = usize::from(opened.record.id.0.as_bytes()[15]) % SHARDS;
        let live = Arc::new(Live {
            opened,
            text_bytes: AtomicU64::new(0),
        });
        let slot = Slot {
            live: Arc::clone(&live),
            marked: None,
        };
        let mut shard = self.shard(number);
        let index = shard.free.pop().unwrap_or(shard.slots.len());
        if index == shard.slots.len() {
            shard.slots.push(Some(slot));
        } else {
            shard.slots[index] = Some(slot);
        }
        drop(shard);
        LiveCall {
            calls: Arc::clone(self),
            live,
            id: SlotId { shard: number, index },
        }
    }

    /// Whether no call is in flight, and none that has finished is marked.
    pub(super) fn is_idle(&self) -> bool {
        (0..SHARDS).all(|number| {
            let shard = self.shard(number);
            shard.finished.is_empty() && shard.slots.iter().all(Option::is_none)
        })
    }

    /// Slots of finished calls, to be wiped once their records are written, and not before.
    pub(super) fn take_finished(&self) -> Vec<SlotId> {
        let each = (0..SHARDS).flat_map(|shard| {
            let finished = std::mem::take(&mut self.shard(shard).finished);
            finished.into_iter().map(move |index| SlotId { shard, index })
        });
        each.collect()
    }

    /// Gives wiped slots to new calls.
    pub(super) fn free(&self, wiped: Vec<SlotId>) {
        for id in wiped {
            self.shard(id.shard).free.push(id.index);
        }
    }

    /// The new marks of one part, of all calls that have progressed, all of them `at_once` or each when due.
    pub(super) fn due(&self, shard: usize, now: Instant, at_once: bool) -> Vec<(SlotId, UsageRecord)> {
        let mut part = self.shard(shard);
        let slots = part.slots.iter_mut().enumerate();
        let due = slots.filter_map(|(index, slot)| {
            let record = slot.as_mut()?.due(now, at_once)?;
            Some((SlotId { shard, index }, record))
        });
        due.collect()
    }
}
