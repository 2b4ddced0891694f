//! Calls under way, by what they ask.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use ::metrics::{Counter, counter};

use crate::{
    cache::{Hit, Key},
    service::completions::{plan::CacheStatus, shared::SharedCall, stored::StoredAnswer},
    telemetry::metrics::CACHE_ANSWERS,
};

/// Beyond so many, calls that nobody reads any more are cleared away first.
const MANY: usize = 256;

/// Calls under way that equal ones can join.
pub(in crate::service::completions) struct Remembering {
    under_way: Mutex<HashMap<Key, Weak<SharedCall>>>,
    longest: usize,
    counted: [Counter; CacheStatus::ALL.len()],
}

impl Remembering {
    pub(in crate::service::completions) fn new(longest: usize) -> Self {
        Self {
            under_way: Mutex::default(),
            longest,
            counted: CacheStatus::ALL.map(|status| counter!(CACHE_ANSWERS, "cache" => status)),
        }
    }

    pub(in crate::service::completions) fn note(&self, status: CacheStatus) {
        self.counted[status.place()].increment(1);
    }

    /// The longest answer that is kept, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn join(&self, key: &Key) -> Option<Arc<SharedCall>> {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.get(key)?.upgrade().filter(|call| call.may_be_joined())
    }

    /// Adds a call, unless another has been added meanwhile, or has been and is over: then `peek` finds its answer, which is
    /// kept before it counts as over.
    pub(super) fn add(
        &self,
        key: Key,
        call: &Arc<SharedCall>,
        peek: impl FnOnce() -> Option<Hit<StoredAnswer>>,
    ) -> Result<(), Before> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let known = under_way.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.may_be_joined()) {
            return Err(Before::UnderWay(known));
        }
        if let Some(hit) = peek() {
            return Err(Before::Over(hit));
        }
        Self::put(&mut under_way, key, call);
        Ok(())
    }

    /// Adds a call, whatever there is.
    pub(super) fn replace(&self, key: Key, call: &Arc<SharedCall>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        Self::put(&mut under_way, key, call);
    }

    fn put(under_way: &mut HashMap<Key, Weak<SharedCall>>, key: Key, call: &Arc<SharedCall>) {
        if under_way.len() >= MANY {
            under_way.retain(|_, call| call.strong_count() > 0);
        }
        under_way.insert(key, Arc::downgrade(call));
    }
}

/// Who was there before a call.
pub(super) enum Before {
    UnderWay(Arc<SharedCall>),
    Over(Hit<StoredAnswer>),
}
