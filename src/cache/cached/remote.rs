//! The Redis tier of one class, within the limit on what it may cost a caller.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Cached, Hit, Inner, memory::Entry};
use crate::cache::{
    flight::Overtaken,
    key::{Key, Place},
    redis::Redis,
    value::{self, Stamp, Unfit, Value},
};

/// What Redis may cost a caller, all in all.
pub(super) const REDIS_LIMIT: Duration = Duration::from_millis(50);

/// What came of asking Redis.
pub(super) enum Asked<V> {
    Hit(Arc<Entry<V>>),
    Miss { generation: u64 },
    Away,
}

impl<V: Value, E: Send + Sync + 'static> Cached<V, E> {
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
                Some(self.0.hit(&entry, self.0.tiers.now()))
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
                let Some(bytes) = value::write(Some(&copy), stamp, &place.value, &inner.tiers.sealer()) else {
                    return;
                };
                let ttl = Duration::from_millis(stamp.expires.saturating_sub(stamp.made));
                if redis.set(&place, &bytes, ttl).await.is_err() {
                    inner.metrics.redis_errors.increment(1);
                }
            });
        }
        self.0
            .remember(&key, Some(value), self.0.tiers.now(), stamp.made, stamp.expires);
    }
}

impl<V: Value, E: Send + Sync + 'static> Inner<V, E> {
    pub(super) async fn ask_redis(
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
        let sealer = self.tiers.sealer();
        let found = fetched
            .value
            .as_ref()
            .and_then(|bytes| {
                let read = value::read::<V>(bytes, epoch, fetched.generation, &place.value, &sealer);
                read.inspect_err(|why| self.note_unfit(*why)).ok()
            })
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

    fn note_unfit(&self, why: Unfit) {
        if why == Unfit::Forged {
            self.metrics.forged.increment(1);
            self.tiers.tell_forgery(self.class);
        }
    }
}
