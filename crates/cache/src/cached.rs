//! One class of cached answers: memory, then Redis, then the loader.

mod forget;
mod load;
mod memory;
mod remote;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use memory::{Memory, MemoryEntry};

use super::{
    class::{Class, Policy},
    flight::{Flights, InvalidatedFlag, LoadResult},
    key::Key,
    metrics::ClassMetrics,
    tiers::{LocalTier, Tiers},
    value::{Stamp, Value},
};

/// A hit in the last fifth of an entry's life, after so many others, loads it anew in the background.
const HOT: u32 = 2;

/// Cheap to clone. `E` is the loader's error.
pub struct Cached<V, E>(Arc<CachedInner<V, E>>);

impl<V, E> Clone for Cached<V, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct CachedInner<V, E> {
    tiers: Tiers,
    class: Class,
    policy: Policy,
    memory: Memory<V>,
    flights: Flights<V, E>,
    metrics: ClassMetrics,
    hits: AtomicU64,
    misses: AtomicU64,
    /// Number of inserts into memory.
    insert_count: AtomicU64,
    /// Number of purges of more than single entries.
    purges: AtomicU64,
}

/// A cached answer.
pub struct Hit<V> {
    /// `None` caches that there is no value.
    pub value: Option<V>,
    pub age: Duration,
}

impl<V: Value, E: Send + Sync + 'static> Cached<V, E> {
    pub fn new(tiers: &Tiers, class: Class, policy: Policy) -> Self {
        let metrics = ClassMetrics::new(class);
        let memory = Memory::new(tiers, class, policy, metrics.evictions.clone());
        let cached = Self(Arc::new(CachedInner {
            tiers: tiers.clone(),
            class,
            policy,
            memory,
            flights: Flights::new(),
            metrics,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            insert_count: AtomicU64::new(0),
            purges: AtomicU64::new(0),
        }));
        tiers.register(Arc::clone(&cached.0) as Arc<dyn LocalTier>);
        cached
    }

    /// The entry in memory, if it is valid.
    pub fn peek(&self, key: &Key) -> Option<Hit<V>> {
        self.0.peek(key).map(|(entry, now)| self.0.hit(&entry, now))
    }

    /// Number of inserts into memory. If it has not changed since a miss, the miss still holds.
    pub fn insert_count(&self) -> u64 {
        self.0.insert_count.load(Ordering::Acquire)
    }

    /// The value from memory, else from Redis, else from `load`, which runs once for all callers that ask meanwhile. They all
    /// get its error, which is not cached.
    pub async fn get_or_load<F>(&self, key: Key, load: impl FnOnce() -> F + Send) -> LoadResult<V, E>
    where
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        if let Some((entry, now)) = self.0.peek(&key) {
            if self.0.is_due(&entry, now) {
                self.refresh(key, load());
            }
            return Ok(entry.value.clone());
        }
        self.0.note_miss();
        Box::pin(self.fetch(key, load)).await
    }
}

impl<V: Value, E: Send + Sync + 'static> CachedInner<V, E> {
    /// The entry, and when it was found, by [`Tiers::now`].
    fn peek(&self, key: &Key) -> Option<(Arc<MemoryEntry<V>>, u64)> {
        let (entry, now) = self.memory.get(key)?;
        entry.hits.fetch_add(1, Ordering::Relaxed);
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.metrics.memory_hits.increment(1);
        Some((entry, now))
    }

    fn note_miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.metrics.memory_misses.increment(1);
    }

    fn hit(&self, entry: &MemoryEntry<V>, now: u64) -> Hit<V> {
        let age = entry.age(now);
        self.metrics.age.record(age.as_secs_f64());
        Hit {
            value: entry.value.clone(),
            age,
        }
    }

    fn is_due(&self, entry: &MemoryEntry<V>, now: u64) -> bool {
        let life = || {
            let life = entry.expires.saturating_sub(entry.stored);
            life.min(self.tiers.valid_for(self.class, now))
        };
        self.class.is_refreshed_early()
            && entry.hits.load(Ordering::Relaxed) > HOT
            && now.saturating_sub(entry.stored) > life() / 5 * 4
            && !entry.refreshing.swap(true, Ordering::Relaxed)
    }

    fn stamp(&self, key: &Key, is_there: bool) -> Stamp {
        let ttl = if is_there {
            self.policy.ttl
        } else {
            self.policy.absent_ttl
        };
        // The configured lifetime is an upper limit, so jitter only shortens it.
        let ttl = ttl.mul_f64(1.0 - key.jitter());
        let made = self.tiers.wall();
        Stamp {
            schema: V::SCHEMA,
            epoch: self.tiers.epoch(self.class),
            generation: 0,
            made,
            expires: made + u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX / 2),
        }
    }

    fn insert(&self, key: &Key, value: Option<V>, begun: u64, made: u64, expires: u64) -> Arc<MemoryEntry<V>> {
        let entry = self.memory.entry(value, begun, made, expires);
        self.memory.insert(*key, &entry);
        self.insert_count.fetch_add(1, Ordering::Release);
        entry
    }

    /// Stores a loaded value unless a write has invalidated it meanwhile.
    fn insert_unless(
        &self,
        invalidated: &InvalidatedFlag,
        key: &Key,
        value: Option<V>,
        begun: u64,
        made: u64,
        expires: u64,
    ) -> Arc<MemoryEntry<V>> {
        if invalidated.is_set() {
            return self.memory.entry(value, begun, made, expires);
        }
        let entry = self.insert(key, value, begun, made, expires);
        // A write between the check and the insert found no entry to remove.
        if invalidated.is_set() {
            self.memory.remove(key);
        }
        entry
    }
}
