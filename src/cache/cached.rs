//! One class of cached answers: memory, then Redis, then the loader.

mod memory;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;

use memory::{Entry, Memory};

use super::{
    class::{Class, Policy},
    flight::{Flights, Outcome, Overtaken},
    key::{Key, Place},
    metrics::ClassMetrics,
    redis::Redis,
    tiers::{CacheStats, Local, Tiers},
    value::{self, Stamp, Value},
};
use crate::domain::ids::OrganizationId;

/// What Redis may cost a caller, all in all.
const REDIS_LIMIT: Duration = Duration::from_millis(50);
/// How long another process may take to load what this one wants too, before this one loads it itself.
const LEASE: Duration = Duration::from_secs(2);
/// Between two looks whether the other has finished.
const LEASE_POLL: Duration = Duration::from_millis(20);
/// A hit in the last fifth of an entry's life, after so many others, loads it anew in the background.
const HOT: u32 = 2;

/// Cheap to clone. `E` is the loader's error.
pub struct Cached<V, E>(Arc<Inner<V, E>>);

impl<V, E> Clone for Cached<V, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<V, E> {
    tiers: Tiers,
    class: Class,
    policy: Policy,
    memory: Memory<V>,
    flights: Flights<V, E>,
    metrics: ClassMetrics,
    hits: AtomicU64,
    misses: AtomicU64,
    /// How often something was put into memory.
    remembered: AtomicU64,
    /// How often more than single entries were forgotten.
    purges: AtomicU64,
}

/// A remembered answer.
pub struct Hit<V> {
    /// `None`: it is remembered that there is none.
    pub value: Option<V>,
    pub age: Duration,
}

impl<V: Value, E: Send + Sync + 'static> Cached<V, E> {
    pub fn new(tiers: &Tiers, class: Class, policy: Policy) -> Self {
        let metrics = ClassMetrics::new(class);
        let memory = Memory::new(tiers, class, policy, metrics.evictions.clone());
        let cached = Self(Arc::new(Inner {
            tiers: tiers.clone(),
            class,
            policy,
            memory,
            flights: Flights::new(),
            metrics,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            remembered: AtomicU64::new(0),
            purges: AtomicU64::new(0),
        }));
        tiers.register(Arc::clone(&cached.0) as Arc<dyn Local>);
        cached
    }

    /// The answer in memory, if there is one that may be believed.
    pub fn peek(&self, key: &Key) -> Option<Hit<V>> {
        self.0.peek(key).map(|entry| self.0.hit(&entry))
    }

    /// Grows with every answer that comes into memory, after it has: who saw the same figure before it peeked in vain need
    /// not peek again.
    pub fn remembered(&self) -> u64 {
        self.0.remembered.load(Ordering::Acquire)
    }

    /// The answer, from wherever it is nearest. `load` is asked only if nobody has it, once for all who ask meanwhile. A
    /// failure is given to them and not remembered.
    pub async fn get_or_load<F>(&self, key: Key, load: impl FnOnce() -> F + Send) -> Outcome<V, E>
    where
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        if let Some(entry) = self.0.peek(&key) {
            if self.0.is_due(&entry) {
                self.refresh(key, load());
            }
            return Ok(entry.value.clone());
        }
        self.0.note_miss();
        Box::pin(self.fetch(key, load)).await
    }

    async fn fetch<F>(&self, key: Key, load: impl FnOnce() -> F) -> Outcome<V, E>
    where
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        let (loading, shared) = self.0.flights.join(key, |overtaken| {
            let inner = Arc::clone(&self.0);
            let load = load();
            async move {
                let outcome = inner.find(&key, load, &overtaken).await;
                inner.flights.land(&key, &overtaken);
                outcome
            }
            .boxed()
        });
        if shared {
            self.0.metrics.coalesced.increment(1);
        }
        loading.await
    }

    /// Loads anew while the old answer still serves.
    fn refresh<F>(&self, key: Key, load: F)
    where
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let (loading, _) = self.0.flights.join(key, |overtaken| {
            async move {
                inner.metrics.refreshed.increment(1);
                let outcome = inner.load(&key, load, &overtaken, None).await;
                inner.flights.land(&key, &overtaken);
                outcome
            }
            .boxed()
        });
        self.0.tiers.tasks().spawn(async move {
            let _ = loading.await;
        });
    }

    /// Asks Redis alone, within the usual limit; keeps in memory what it gives. Only for what no write can make wrong: just
    /// a purge can overtake it.
    pub async fn fetch_remembered(&self, key: &Key) -> Option<Hit<V>> {
        let redis = self.0.tiers.redis_for(self.0.class)?;
        let overtaken = Overtaken::default();
        let purges = self.0.purges.load(Ordering::Acquire);
        let deadline = Instant::now() + REDIS_LIMIT;
        match self.0.ask_redis(redis, key, &key.place(), deadline, &overtaken).await {
            Asked::Hit(entry) => {
                if self.0.purges.load(Ordering::Acquire) != purges {
                    self.0.memory.remove(key);
                }
                Some(self.0.hit(&entry))
            }
            Asked::Miss { .. } | Asked::Away => None,
        }
    }

    /// Keeps an answer that was come by otherwise, in both tiers, in place of another if there is one. Only for what no write
    /// can make wrong.
    pub fn keep(&self, key: Key, value: V) {
        let stamp = self.0.stamp(&key, true);
        if let Some(redis) = self.0.tiers.redis_for(self.0.class).cloned() {
            let (inner, copy) = (Arc::clone(&self.0), value.clone());
            self.0.tiers.tasks().spawn(async move {
                let place = key.place();
                let Ok(fetched) = redis.fetch(&place, Instant::now() + REDIS_LIMIT).await else {
                    inner.metrics.redis_errors.increment(1);
                    return;
                };
                let stamp = Stamp {
                    generation: fetched.generation,
                    ..stamp
                };
                let bytes = value::write(Some(&copy), stamp);
                let ttl = Duration::from_millis(stamp.expires.saturating_sub(stamp.made));
                if redis.set(&place, &bytes, ttl).await.is_err() {
                    inner.metrics.redis_errors.increment(1);
                }
            });
        }
        self.0
            .remember(&key, Some(value), self.0.tiers.now(), stamp.made, stamp.expires);
    }

    /// After the write that made them wrong: forgotten here at once, and everywhere within a second, whether or not the
    /// caller stays to see it.
    pub async fn invalidate(&self, keys: &[Key]) {
        for key in keys {
            self.0.forget(key);
        }
        self.0.tiers.spread(keys).await;
    }
}

/// What came of asking Redis.
enum Asked<V> {
    Hit(Arc<Entry<V>>),
    Miss { generation: u64 },
    Away,
}

impl<V: Value, E: Send + Sync + 'static> Inner<V, E> {
    fn peek(&self, key: &Key) -> Option<Arc<Entry<V>>> {
        let entry = self.memory.get(key)?;
        entry.hits.fetch_add(1, Ordering::Relaxed);
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.metrics.memory_hits.increment(1);
        Some(entry)
    }

    fn note_miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.metrics.memory_misses.increment(1);
    }

    fn hit(&self, entry: &Entry<V>) -> Hit<V> {
        let age = Duration::from_millis(self.tiers.wall().saturating_sub(entry.made));
        self.metrics.age.record(age.as_secs_f64());
        Hit {
            value: entry.value.clone(),
            age,
        }
    }

    fn is_due(&self, entry: &Entry<V>) -> bool {
        let life = entry.expires.saturating_sub(entry.stored);
        self.class.is_refreshed_early()
            && entry.hits.load(Ordering::Relaxed) > HOT
            && self.tiers.now().saturating_sub(entry.stored) > life / 5 * 4
            && !entry.refreshing.swap(true, Ordering::Relaxed)
    }

    async fn find(
        &self,
        key: &Key,
        load: impl Future<Output = Result<Option<V>, E>> + Send,
        overtaken: &Overtaken,
    ) -> Outcome<V, E> {
        let Some(redis) = self.tiers.redis_for(self.class) else {
            return self.load(key, load, overtaken, None).await;
        };
        let place = key.place();
        let deadline = Instant::now() + REDIS_LIMIT;
        let generation = match self.ask_redis(redis, key, &place, deadline, overtaken).await {
            Asked::Hit(entry) => return Ok(entry.value.clone()),
            Asked::Away => return self.load(key, load, overtaken, None).await,
            Asked::Miss { generation } => generation,
        };
        let token = self.tiers.instance() ^ self.tiers.now().rotate_left(32) ^ key.word();
        match redis.lease(&place, token, LEASE, deadline).await {
            Ok(true) => {
                let lease = Lease {
                    redis: redis.clone(),
                    place,
                    token,
                    generation,
                };
                self.load(key, load, overtaken, Some(lease)).await
            }
            Ok(false) => match self.await_other(redis, key, &place, overtaken).await {
                Some(entry) => Ok(entry.value.clone()),
                None => self.load(key, load, overtaken, None).await,
            },
            Err(_) => {
                self.metrics.redis_errors.increment(1);
                self.load(key, load, overtaken, None).await
            }
        }
    }

    /// Another process is loading it. Gives up when that takes too long, or Redis goes away.
    async fn await_other(
        &self,
        redis: &Redis,
        key: &Key,
        place: &Place,
        overtaken: &Overtaken,
    ) -> Option<Arc<Entry<V>>> {
        let patience = Instant::now() + LEASE;
        while Instant::now() < patience {
            tokio::time::sleep(LEASE_POLL).await;
            match self
                .ask_redis(redis, key, place, Instant::now() + REDIS_LIMIT, overtaken)
                .await
            {
                Asked::Hit(entry) => return Some(entry),
                Asked::Miss { .. } => {}
                Asked::Away => return None,
            }
        }
        None
    }

    async fn ask_redis(
        &self,
        redis: &Redis,
        key: &Key,
        place: &Place,
        deadline: Instant,
        overtaken: &Overtaken,
    ) -> Asked<V> {
        let begun = self.tiers.now();
        let epoch = self.tiers.epoch(self.class);
        let Ok(fetched) = redis.fetch(place, deadline).await else {
            self.metrics.redis_errors.increment(1);
            return Asked::Away;
        };
        let found = fetched
            .value
            .as_ref()
            .and_then(|bytes| value::read::<V>(bytes, epoch, fetched.generation))
            .filter(|found| found.expires > self.tiers.wall());
        let Some(found) = found else {
            self.metrics.redis_misses.increment(1);
            return Asked::Miss {
                generation: fetched.generation,
            };
        };
        self.metrics.redis_hits.increment(1);
        Asked::Hit(self.remember_unless(overtaken, key, found.value, begun, found.made, found.expires))
    }

    async fn load(
        &self,
        key: &Key,
        load: impl Future<Output = Result<Option<V>, E>> + Send,
        overtaken: &Overtaken,
        lease: Option<Lease>,
    ) -> Outcome<V, E> {
        self.metrics.loads.increment(1);
        let begun = self.tiers.now();
        let loaded = match load.await {
            Ok(loaded) => loaded,
            Err(error) => {
                self.metrics.failed_loads.increment(1);
                if let Some(lease) = lease {
                    self.tiers.tasks().spawn(lease.release());
                }
                return Err(Arc::new(error));
            }
        };
        let stamp = self.stamp(key, loaded.is_some());
        if let Some(lease) = lease {
            if overtaken.is_so() {
                self.tiers.tasks().spawn(lease.release());
            } else {
                let stamp = Stamp {
                    generation: lease.generation,
                    ..stamp
                };
                let bytes = value::write(loaded.as_ref(), stamp);
                let errors = self.metrics.redis_errors.clone();
                self.tiers.tasks().spawn(lease.fill(bytes, stamp, errors));
            }
        }
        self.remember_unless(overtaken, key, loaded.clone(), begun, stamp.made, stamp.expires);
        Ok(loaded)
    }

    fn stamp(&self, key: &Key, is_there: bool) -> Stamp {
        let ttl = if is_there {
            self.policy.ttl
        } else {
            self.policy.absent_ttl
        };
        // At most the lifetime that was promised, so only ever shorter.
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

    fn remember(&self, key: &Key, value: Option<V>, begun: u64, made: u64, expires: u64) -> Arc<Entry<V>> {
        let entry = self.memory.entry(value, begun, made, expires);
        self.memory.insert(*key, &entry);
        self.remembered.fetch_add(1, Ordering::Release);
        entry
    }

    /// Keeps what was found for `key`, unless a write has made it wrong meanwhile.
    fn remember_unless(
        &self,
        overtaken: &Overtaken,
        key: &Key,
        value: Option<V>,
        begun: u64,
        made: u64,
        expires: u64,
    ) -> Arc<Entry<V>> {
        if overtaken.is_so() {
            return self.memory.entry(value, begun, made, expires);
        }
        let entry = self.remember(key, value, begun, made, expires);
        // A write between the look and the deed has found nothing to forget.
        if overtaken.is_so() {
            self.memory.remove(key);
        }
        entry
    }

    fn forget(&self, key: &Key) {
        // In this order: a load that lands in between finds itself overtaken.
        self.flights.overtake(key);
        self.memory.remove(key);
        self.metrics.invalidations.increment(1);
    }

    fn forget_where(&self, concerned: impl Fn(&Key) -> bool) {
        self.purges.fetch_add(1, Ordering::AcqRel);
        self.flights.overtake_all(&concerned);
        self.metrics
            .invalidations
            .increment(self.memory.remove_where(concerned));
    }
}

/// The right to store what is being loaded.
struct Lease {
    redis: Redis,
    place: Place,
    token: u64,
    generation: u64,
}

impl Lease {
    async fn release(self) {
        let _ = self.redis.release(&self.place, self.token).await;
    }

    async fn fill(self, bytes: Vec<u8>, stamp: Stamp, errors: metrics::Counter) {
        let ttl = Duration::from_millis(stamp.expires.saturating_sub(stamp.made));
        if self.redis.fill(&self.place, self.token, &bytes, ttl).await.is_err() {
            errors.increment(1);
        }
    }
}

impl<V: Value, E: Send + Sync + 'static> Local for Inner<V, E> {
    fn class(&self) -> Class {
        self.class
    }

    fn forget_hash(&self, hash: [u8; 32]) {
        self.forget(&Key::of_hash(self.class, V::SCHEMA, hash));
    }

    fn forget_organization(&self, organization: OrganizationId) {
        self.forget_where(|key| key.organization() == Some(organization));
    }

    fn forget_all(&self) {
        self.forget_where(|_| true);
    }

    fn free_expired(&self) {
        self.memory.remove_expired();
    }

    fn stats(&self) -> CacheStats {
        let (entries, bytes) = self.memory.size();
        self.metrics.entries.set(entries as f64);
        self.metrics.bytes.set(bytes as f64);
        CacheStats {
            class: self.class.as_str(),
            entries,
            bytes,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evictions: self.memory.evictions(),
        }
    }
}
