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
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub(super) use file::read;
use file::{SLOT, WIPED, create, offset};

use super::codec;
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
const SHARDS: usize = 16;

/// What is known when a call starts.
pub struct Opened {
    /// Its record, without consumption and outcome.
    pub record: UsageRecord,
    pub model: Arc<Model>,
    pub input_bytes: usize,
    pub started: Instant,
}

/// A call in flight, reported by the task that serves it.
struct Live {
    opened: Opened,
    text_bytes: AtomicU64,
    marked: Mutex<Option<Marked>>,
}

#[derive(Clone, Copy)]
struct Marked {
    text_bytes: u64,
    at: Instant,
}

#[derive(Default)]
struct Shard {
    live: Vec<Option<Arc<Live>>>,
    free: Vec<usize>,
    /// Finished, but still marked in the file.
    over: Vec<usize>,
}

#[derive(Default)]
pub(super) struct Calls {
    shards: [Mutex<Shard>; SHARDS],
    file: Mutex<Option<(PathBuf, File)>>,
}

/// The call is in flight while this exists.
pub(in crate::usage) struct LiveCall {
    calls: Arc<Calls>,
    live: Arc<Live>,
    shard: usize,
    index: usize,
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
        let is_marked = self.live.marked().is_some();
        let mut shard = self.calls.shard(self.shard);
        shard.live[self.index] = None;
        if is_marked {
            shard.over.push(self.index);
        } else {
            shard.free.push(self.index);
        }
    }
}

impl Live {
    fn marked(&self) -> std::sync::MutexGuard<'_, Option<Marked>> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its record if it ended now, unless the last mark has the same or is too recent.
    fn due(&self, now: Instant, at_once: bool) -> Option<UsageRecord> {
        let mut marked = self.marked();
        let text_bytes = self.text_bytes.load(Ordering::Relaxed);
        if let Some(last) = *marked
            && (last.text_bytes == text_bytes || (!at_once && now.saturating_duration_since(last.at) < MARK_INTERVAL))
        {
            return None;
        }
        *marked = Some(Marked { text_bytes, at: now });
        Some(self.opened.record_at(now, text_bytes))
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
    fn shard(&self, number: usize) -> std::sync::MutexGuard<'_, Shard> {
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(self: &Arc<Self>, opened: Opened) -> LiveCall {
        let number = usize::from(opened.record.id.0.as_bytes()[15]) % SHARDS;
        let live = Arc::new(Live {
            opened,
            text_bytes: AtomicU64::new(0),
            marked: Mutex::default(),
        });
        let mut shard = self.shard(number);
        let index = shard.free.pop().unwrap_or(shard.live.len());
        if index == shard.live.len() {
            shard.live.push(None);
        }
        shard.live[index] = Some(Arc::clone(&live));
        drop(shard);
        LiveCall {
            calls: Arc::clone(self),
            live,
            shard: number,
            index,
        }
    }

    /// Whether there is nothing to mark and nothing to wipe.
    pub(super) fn is_idle(&self) -> bool {
        (0..SHARDS).all(|number| {
            let shard = self.shard(number);
            shard.over.is_empty() && shard.live.iter().all(Option::is_none)
        })
    }

    /// Slots of finished calls, to be wiped once their records are safe, and not before.
    pub(super) fn take_over(&self) -> Vec<(usize, usize)> {
        let each = (0..SHARDS).flat_map(|number| {
            let over = std::mem::take(&mut self.shard(number).over);
            over.into_iter().map(move |index| (number, index))
        });
        each.collect()
    }

    /// Returns slots that could not be wiped.
    pub(super) fn put_back(&self, over: Vec<(usize, usize)>) {
        for (number, index) in over {
            self.shard(number).over.push(index);
        }
    }

    /// Waits for the disk.
    pub(super) fn wipe(&self, over: Vec<(usize, usize)>) -> io::Result<()> {
        let file = self.file();
        let mut outcome = Ok(());
        for (number, index) in over {
            if let Some((_, file)) = &*file {
                outcome = outcome.and(file.write_all_at(&WIPED, offset(number, index)));
            }
            self.shard(number).free.push(index);
        }
        outcome
    }

    /// Marks calls that have progressed, all of them `at_once` or each when due. Waits for the disk.
    pub(super) fn mark(&self, directory: &Path, owner: uuid::Uuid, at_once: bool) -> io::Result<()> {
        let now = Instant::now();
        let mut buffer = Vec::with_capacity(SLOT);
        for number in 0..SHARDS {
            let live: Vec<_> = {
                let shard = self.shard(number);
                let each = shard.live.iter().enumerate();
                each.filter_map(|(index, live)| Some((index, Arc::clone(live.as_ref()?))))
                    .collect()
            };
            for (index, live) in live {
                let Some(record) = live.due(now, at_once) else { continue };
                buffer.clear();
                // No catalogue has names of that length.
                if codec::encode(&record, &mut buffer).is_err() || buffer.len() > SLOT {
                    continue;
                }
                let mut file = self.file();
                if file.is_none() {
                    *file = Some(create(directory, owner)?);
                }
                if let Some((_, file)) = &*file {
                    file.write_all_at(&buffer, offset(number, index))?;
                }
            }
        }
        Ok(())
    }

    /// Removes the file, unless calls are in flight: the next start files those.
    pub(super) fn close(&self) -> io::Result<()> {
        match self.file().take() {
            Some((path, _)) if self.is_idle() => fs::remove_file(path),
            Some((_, file)) => file.sync_all(),
            None => Ok(()),
        }
    }

    /// Releases the file's lock and keeps the file: the writer thread may keep the journal alive for a moment longer.
    pub(super) fn unlock(&self) {
        drop(self.file().take());
    }

    fn file(&self) -> std::sync::MutexGuard<'_, Option<(PathBuf, File)>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
