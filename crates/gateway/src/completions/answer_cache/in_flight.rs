//! Calls in flight, by cache key.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use ::metrics::{Counter, counter};

use crate::completions::{cache_policy::CacheStatus, shared::SharedCall, stored::StoredAnswer};
use cache::{Hit, Key};
use telemetry::metrics::CACHE_ANSWERS;

/// Above this number, calls without readers are removed first.
const MANY: usize = 256;

/// Calls in flight that identical calls can join.
pub(in crate::completions) struct InFlightCalls {
    in_flight: Mutex<HashMap<Key, Weak<SharedCall>>>,
    max_answer_bytes: usize,
    counted: [Counter; CacheStatus::ALL.len()],
}

impl InFlightCalls {
    pub(in crate::completions) fn new(max_answer_bytes: usize) -> Self {
        Self {
            in_flight: Mutex::default(),
            max_answer_bytes,
            counted: CacheStatus::ALL.map(|status| counter!(CACHE_ANSWERS, "cache" => status)),
        }
    }

    pub(in crate::completions) fn note(&self, status: CacheStatus) {
        self.counted[status.index()].increment(1);
    }

    /// Largest answer that is cached, in bytes.
    pub(super) fn max_answer_bytes(&self) -> usize {
        self.max_answer_bytes
    }

    pub(super) fn join(&self, key: &Key) -> Option<Arc<SharedCall>> {
        let in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        in_flight.get(key)?.upgrade().filter(|call| call.may_be_joined())
    }

    /// Adds a call unless an identical one was added meanwhile. If that one has already finished, `peek` finds its answer: a
    /// call stores its answer before it counts as finished.
    pub(super) fn add(
        &self,
        key: Key,
        call: &Arc<SharedCall>,
        peek: impl FnOnce() -> Option<Hit<StoredAnswer>>,
    ) -> Result<(), Existing> {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let existing = in_flight.get(&key).and_then(Weak::upgrade);
        if let Some(existing) = existing.filter(|existing| existing.may_be_joined()) {
            return Err(Existing::InFlight(existing));
        }
        if let Some(hit) = peek() {
            return Err(Existing::Cached(hit));
        }
        Self::put(&mut in_flight, key, call);
        Ok(())
    }

    /// Adds a call, replacing an identical one.
    pub(super) fn replace(&self, key: Key, call: &Arc<SharedCall>) {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        Self::put(&mut in_flight, key, call);
    }

    fn put(in_flight: &mut HashMap<Key, Weak<SharedCall>>, key: Key, call: &Arc<SharedCall>) {
        if in_flight.len() >= MANY {
            in_flight.retain(|_, call| call.strong_count() > 0);
        }
        in_flight.insert(key, Arc::downgrade(call));
    }
}

/// What an identical earlier call left.
pub(super) enum Existing {
    InFlight(Arc<SharedCall>),
    Cached(Hit<StoredAnswer>),
}
