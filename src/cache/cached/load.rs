//! Finding what memory does not have: in Redis, or by the loader, once for all who ask, here and in other processes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;

use super::{
    Cached, Inner,
    memory::Entry,
    remote::{Asked, REDIS_LIMIT},
};
use crate::cache::{
    flight::{Outcome, Overtaken},
    key::{Key, Place},
    redis::Redis,
    value::{self, Stamp, Value},
};

/// How long another process may take to load what this one wants too, before this one loads it itself.
const LEASE: Duration = Duration::from_secs(2);
/// Between two looks whether the other has finished.
const LEASE_POLL: Duration = Duration::from_millis(20);

impl<V: Value, E: Send + Sync + 'static> Cached<V, E> {
    pub(super) async fn fetch<F>(&self, key: Key, load: impl FnOnce() -> F) -> Outcome<V, E>
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
    pub(super) fn refresh<F>(&self, key: Key, load: F)
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
}

impl<V: Value, E: Send + Sync + 'static> Inner<V, E> {
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
