//! One call to a provider with several readers: each gets the frames so far and then the new ones.
//!
//! A task of its own, the leader, makes the call and appends to a log that all readers follow. It runs at the speed of its fastest reader, and
//! ends, at the provider too, when the last one is dropped.

mod leader;
mod log;
mod reader;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{record::Recorder, stored::StoredAnswer};
use cache::{Cached, Key};
use concurrency::memory::Allowance;
pub(super) use leader::lead;
use llm::Endpoint;
pub(super) use log::{Head, StartError};
use log::{Log, may_be_stored};
pub(super) use reader::SharedReader;

/// When and where a finished answer is stored.
pub(super) struct StorePolicy {
    pub(super) answers: Cached<StoredAnswer, Infallible>,
    pub(super) key: Key,
    /// Number of requested choices; each must have finished normally. 0: nothing is stored.
    pub(super) choices: u32,
    pub(super) endpoint: Endpoint,
    pub(super) max_bytes: usize,
}

pub(super) struct SharedCall {
    log: Mutex<Log>,
    /// There is more in the log.
    appended: Arc<Notify>,
    /// A reader has read on, or left.
    read: Notify,
    /// No reader is left.
    abandoned: CancellationToken,
}

impl SharedCall {
    pub(super) fn new(max_bytes: usize, memory: Allowance) -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::new(Log::new(max_bytes, memory)),
            appended: Arc::default(),
            read: Notify::new(),
            abandoned: CancellationToken::new(),
        })
    }

    /// A reader of the answer from its beginning; the one that starts the call has no usage record of its own. `None` if no reader is left,
    /// so that the call is about to end, or if its beginning is no longer kept.
    pub(super) fn reader(self: &Arc<Self>, own: &mut Option<Recorder>, with_usage: bool) -> Option<SharedReader> {
        let id = {
            // Under the lock, which the last reader holds as it leaves.
            let mut log = self.log();
            (!self.abandoned.is_cancelled() && log.dropped == 0).then(|| log.readers.add())?
        };
        Some(SharedReader::new(Arc::clone(self), id, own.take(), with_usage))
    }

    /// Whether a new reader would get the complete answer.
    pub(super) fn may_be_joined(&self) -> bool {
        let log = self.log();
        let is_for_all = log.head.as_ref().is_none_or(|head| may_be_stored(head.headers()));
        is_for_all && !self.abandoned.is_cancelled() && !log.is_too_long() && log.end.is_none()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the log, and tells its readers.
    fn append<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let changed = change(&mut self.log());
        self.appended.notify_waiters();
        changed
    }

    fn leave(&self, reader: u64) {
        let mut log = self.log();
        log.readers.remove(reader);
        if log.readers.is_empty() {
            self.abandoned.cancel();
        }
        drop(log);
        self.read.notify_one();
    }
}
