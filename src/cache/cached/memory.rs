//! The memory tier of one class, bounded in bytes.
//!
//! The cache underneath could tell what it evicts, but then it makes a lock and throws it away for every key that comes or
//! goes. So an entry tells by itself, when it goes, whether it was evicted: it was if it could still have been given, and
//! nobody had it removed or loaded anew.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use ::metrics::Counter;
use moka::sync::Cache;

use crate::cache::{
    class::{Class, Policy},
    key::Key,
    tiers::Tiers,
    value::Value,
};

/// An entry's own bookkeeping in memory, as measured: key, counters, the cache's lists and its timer.
const OVERHEAD: usize = 400;

pub(super) struct Memory<V> {
    held: Cache<Key, Arc<Entry<V>>>,
    keeper: Arc<Keeper>,
    is_off: bool,
}

/// What entries have in common.
struct Keeper {
    tiers: Tiers,
    class: Class,
    evictions: AtomicU64,
    counted: Counter,
}

pub(super) struct Entry<V> {
    pub(super) value: Option<V>,
    /// When loading it began, by [`Tiers::now`]: a write since then may not be in it.
    pub(super) stored: u64,
    pub(super) expires: u64,
    /// Milliseconds since 1970.
    pub(super) made: u64,
    pub(super) hits: AtomicU32,
    pub(super) refreshing: AtomicBool,
    /// In memory, and neither removed nor replaced.
    held: AtomicBool,
    weight: u32,
    keeper: Arc<Keeper>,
}

impl<V> Entry<V> {
    fn may_be_given(&self) -> bool {
        let Keeper { tiers, class, .. } = &*self.keeper;
        let now = tiers.now();
        now < self.expires && tiers.is_believed(*class, self.stored, now)
    }
}

impl<V> Drop for Entry<V> {
    fn drop(&mut self) {
        if *self.held.get_mut() && !*self.refreshing.get_mut() && self.may_be_given() {
            self.keeper.evictions.fetch_add(1, Ordering::Relaxed);
            self.keeper.counted.increment(1);
        }
    }
}

impl<V: Value> Memory<V> {
    pub(super) fn new(tiers: &Tiers, class: Class, policy: Policy, evictions: Counter) -> Self {
        let held = Cache::builder()
            .name(class.as_str())
            .max_capacity(policy.memory_bytes)
            .weigher(|_, entry: &Arc<Entry<V>>| entry.weight)
            .time_to_live(policy.ttl.max(policy.absent_ttl) * 2)
            .build();
        let keeper = Keeper {
            tiers: tiers.clone(),
            class,
            evictions: AtomicU64::new(0),
            counted: evictions,
        };
        Self {
            held,
            keeper: Arc::new(keeper),
            is_off: policy.memory_bytes == 0,
        }
    }

    /// An entry that is not held. `begun` is [`Tiers::now`] before it was looked for; `made` and `expires` are milliseconds
    /// since 1970.
    pub(super) fn entry(&self, value: Option<V>, begun: u64, made: u64, expires: u64) -> Arc<Entry<V>> {
        let tiers = &self.keeper.tiers;
        let left = expires.saturating_sub(tiers.wall());
        let weight = OVERHEAD + size_of::<Entry<V>>() + value.as_ref().map_or(0, V::weight);
        Arc::new(Entry {
            value,
            stored: begun,
            expires: tiers.now().saturating_add(left),
            made,
            hits: AtomicU32::new(0),
            refreshing: AtomicBool::new(false),
            held: AtomicBool::new(false),
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
            keeper: Arc::clone(&self.keeper),
        })
    }

    /// The entry, if it may be believed.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry<V>>> {
        self.held.get(key).filter(|entry| entry.may_be_given())
    }

    /// In place of one that cannot be given any more, or is being refreshed. Any other is to be removed before, lest it be
    /// taken for evicted.
    pub(super) fn insert(&self, key: Key, entry: &Arc<Entry<V>>) {
        if !self.is_off {
            entry.held.store(true, Ordering::Relaxed);
            self.held.insert(key, Arc::clone(entry));
        }
    }

    pub(super) fn remove(&self, key: &Key) {
        if let Some(entry) = self.held.remove(key) {
            entry.held.store(false, Ordering::Relaxed);
        }
    }

    /// Gives how many.
    pub(super) fn remove_where(&self, concerned: impl Fn(&Key) -> bool) -> u64 {
        let mut removed = 0;
        for (key, _) in &self.held {
            if concerned(&key) {
                self.remove(&key);
                removed += 1;
            }
        }
        removed
    }

    /// Entries and bytes, brought up to date.
    pub(super) fn size(&self) -> (u64, u64) {
        self.held.run_pending_tasks();
        (self.held.entry_count(), self.held.weighted_size())
    }

    pub(super) fn evictions(&self) -> u64 {
        self.keeper.evictions.load(Ordering::Relaxed)
    }
}
