//! The Redis tier of one class, within a time limit per call.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Cached, CachedInner, Hit, memory::MemoryEntry};
use crate::{
    flight::InvalidatedFlag,
    key::{Key, RedisKeys},
    redis::Redis,
    value::{self, Stamp, Unfit, Value},
};

/// Total time that Redis may cost a caller.
pub(super) const REDIS_LIMIT: Duration = Duration::from_millis(50);

/// The result of a lookup in Redis.
pub(super) enum RedisLookup<V> {
    Hit(Arc<MemoryEntry<V>>),
    Miss { generation: u64 },
    Away,
}

impl<V: Value, E: Send + Sync + 'static> Cached<V, E> {
    /// Looks in Redis only, within the usual limit, and inserts a hit into memory. Only for immutable classes, whose entries
    /// only a purge can invalidate.
    pub async fn fetch_from_redis(&self, key: &Key) -> Option<Hit<V>> {
        let redis = self.0.tiers.redis_for(self.0.class)?;
        let invalidated = InvalidatedFlag::default();
        let purges = self.0.purges.load(Ordering::Acquire);
        let deadline = Instant::now() + REDIS_LIMIT;
        match self
            .0
            .ask_redis(redis, key, &key.redis_keys(), deadline, &invalidated)
            .await
        {
            RedisLookup::Hit(entry) => {
                if self.0.purges.load(Ordering::Acquire) != purges {
                    self.0.memory.remove(key);
                }
                Some(self.0.hit(&entry, self.0.tiers.now()))
            }
            RedisLookup::Miss { .. } | RedisLookup::Away => None,
        }
    }

    /// Stores a value that was obtained otherwise in both tiers, replacing an earlier one. Only for immutable classes.
    pub fn keep(&self, key: Key, value: V) {
        let stamp = self.0.stamp(&key, true);
        if let Some(redis) = self.0.tiers.redis_for(self.0.class).cloned() {
            let (inner, copy) = (Arc::clone(&self.0), value.clone());
            self.0.tiers.tasks().spawn(async move {
                let keys = key.redis_keys();
                let Ok(fetched) = redis.fetch(&keys, Instant::now() + REDIS_LIMIT).await else {
                    inner.metrics.redis_errors.increment(1);
                    return;
                };
                let stamp = Stamp {
                    generation: fetched.generation,
                    ..stamp
                };
                let Some(bytes) = value::write(Some(&copy), stamp, &keys.value, &inner.tiers.sealer()) else {
                    return;
                };
                let ttl = Duration::from_millis(stamp.expires.saturating_sub(stamp.made));
                if redis.set(&keys, &bytes, ttl).await.is_err() {
                    inner.metrics.redis_errors.increment(1);
                }
            });
        }
        self.0
            .insert(&key, Some(value), self.0.tiers.now(), stamp.made, stamp.expires);
    }
}

impl<V: Value, E: Send + Sync + 'static> CachedInner<V, E> {
    pub(super) async fn ask_redis(
        &self,
        redis: &Redis,
        key: &Key,
        keys: &RedisKeys,
        deadline: Instant,
        invalidated: &InvalidatedFlag,
    ) -> RedisLookup<V> {
        let begun = self.tiers.now();
        let epoch = self.tiers.epoch(self.class);
        let Ok(fetched) = redis.fetch(keys, deadline).await else {
            self.metrics.redis_errors.increment(1);
            return RedisLookup::Away;
        };
        let sealer = self.tiers.sealer();
        let found = fetched
            .value
            .as_ref()
            .and_then(|bytes| {
                let read = value::read::<V>(bytes, epoch, fetched.generation, &keys.value, &sealer);
                read.inspect_err(|why| self.note_unfit(*why)).ok()
            })
            .filter(|found| found.expires > self.tiers.wall());
        let Some(found) = found else {
            self.metrics.redis_misses.increment(1);
            return RedisLookup::Miss {
                generation: fetched.generation,
            };
        };
        self.metrics.redis_hits.increment(1);
        RedisLookup::Hit(self.insert_unless(invalidated, key, found.value, begun, found.made, found.expires))
    }

    fn note_unfit(&self, why: Unfit) {
        if why == Unfit::Forged {
            self.metrics.forged.increment(1);
            self.tiers.log_forgery(self.class);
        }
    }
}
