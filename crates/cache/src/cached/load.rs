//! Serves a memory miss from Redis or the loader, once for all callers, in this process and in others.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::{
    Cached, CachedInner,
    memory::MemoryEntry,
    remote::{REDIS_LIMIT, RedisLookup},
};
use crate::{
    flight::{InvalidatedFlag, LoadResult},
    key::{Key, RedisKeys},
    redis::{Redis, RedisError},
    value::{self, Stamp, Value},
};

/// Another process may take so long to load a value before this process loads it as well.
const LEASE: Duration = Duration::from_secs(2);
/// Between two checks whether the other process has finished.
const LEASE_POLL: Duration = Duration::from_millis(20);

impl<V: Value, E: Send + Sync + 'static> Cached<V, E> {
    pub(super) async fn fetch<F>(&self, key: Key, load: impl FnOnce() -> F) -> LoadResult<V, E>
    where
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        let (loading, shared) = self.0.flights.join(key, |invalidated| {
            let inner = Arc::clone(&self.0);
            let load = load();
            async move {
                let outcome = inner.find(&key, load, &invalidated).await;
                inner.flights.remove(&key, &invalidated);
                outcome
            }
            .boxed()
        });
        if shared {
            self.0.metrics.coalesced.increment(1);
        }
        loading.await
    }

    /// Reloads in the background while the old value is still served.
    pub(super) fn refresh<F>(&self, key: Key, load: F)
    where
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let (loading, _) = self.0.flights.join(key, |invalidated| {
            async move {
                inner.metrics.refreshed.increment(1);
                let outcome = inner.load(&key, load, &invalidated, None).await;
                inner.flights.remove(&key, &invalidated);
                outcome
            }
            .boxed()
        });
        self.0.tiers.tasks().spawn(async move {
            let _ = loading.await;
        });
    }
}

impl<V: Value, E: Send + Sync + 'static> CachedInner<V, E> {
    async fn find(
        &self,
        key: &Key,
        load: impl Future<Output = Result<Option<V>, E>> + Send,
        invalidated: &InvalidatedFlag,
    ) -> LoadResult<V, E> {
        let Some(redis) = self.tiers.redis_for(self.class) else {
            return self.load(key, load, invalidated, None).await;
        };
        let keys = key.redis_keys();
        let deadline = Instant::now() + REDIS_LIMIT;
        let generation = match self.ask_redis(redis, key, &keys, deadline, invalidated).await {
            RedisLookup::Hit(entry) => return Ok(entry.value.clone()),
            RedisLookup::Away => return self.load(key, load, invalidated, None).await,
            RedisLookup::Miss { generation } => generation,
        };
        let token = self.tiers.instance() ^ self.tiers.now().rotate_left(32) ^ key.word();
        let mut lease = Lease {
            redis: redis.clone(),
            tasks: self.tiers.tasks().clone(),
            keys,
            token,
            generation,
            may_be_taken: false,
        };
        match lease.take(deadline).await {
            Ok(true) => self.load(key, load, invalidated, Some(lease)).await,
            Ok(false) => match self.await_other(key, lease, invalidated).await {
                Other::Loaded(entry) => Ok(entry.value.clone()),
                Other::Left(lease) => self.load(key, load, invalidated, lease).await,
            },
            Err(_) => {
                self.metrics.redis_errors.increment(1);
                self.load(key, load, invalidated, None).await
            }
        }
    }

    /// Waits for the load of another process. Takes over its lease if it gave up, and stops waiting after [`LEASE`] or when
    /// Redis fails.
    async fn await_other(&self, key: &Key, mut lease: Lease, invalidated: &InvalidatedFlag) -> Other<V> {
        let redis = lease.redis.clone();
        let deadline = Instant::now() + LEASE;
        while Instant::now() < deadline {
            tokio::time::sleep(LEASE_POLL).await;
            let deadline = Instant::now() + REDIS_LIMIT;
            match self.ask_redis(&redis, key, &lease.keys, deadline, invalidated).await {
                RedisLookup::Hit(entry) => return Other::Loaded(entry),
                RedisLookup::Miss { generation } => lease.generation = generation,
                RedisLookup::Away => return Other::Left(None),
            }
            // The lease was released without a value: the holder's caller disconnected, or a write invalidated it.
            match lease.take(deadline).await {
                Ok(true) => return Other::Left(Some(lease)),
                // A late answer does not tell who holds the lease.
                Ok(false) | Err(RedisError::NoAnswer(_)) => {}
                Err(_) => return Other::Left(None),
            }
        }
        Other::Left(None)
    }

    async fn load(
        &self,
        key: &Key,
        load: impl Future<Output = Result<Option<V>, E>> + Send,
        invalidated: &InvalidatedFlag,
        lease: Option<Lease>,
    ) -> LoadResult<V, E> {
        self.metrics.loads.increment(1);
        let begun = self.tiers.now();
        let loaded = match load.await {
            Ok(loaded) => loaded,
            Err(error) => {
                self.metrics.failed_loads.increment(1);
                return Err(Arc::new(error));
            }
        };
        let stamp = self.stamp(key, loaded.is_some());
        if let Some(lease) = lease.filter(|_| !invalidated.is_set()) {
            let stamp = Stamp {
                generation: lease.generation,
                ..stamp
            };
            if let Some(bytes) = value::write(loaded.as_ref(), stamp, &lease.keys.value, &self.tiers.sealer()) {
                let errors = self.metrics.redis_errors.clone();
                self.tiers.tasks().spawn(lease.fill(bytes, stamp, errors));
            }
        }
        self.insert_unless(invalidated, key, loaded.clone(), begun, stamp.made, stamp.expires);
        Ok(loaded)
    }
}

/// The result of waiting for another process.
enum Other<V> {
    Loaded(Arc<MemoryEntry<V>>),
    /// This process has to load the value, and may share it if it got the lease.
    Left(Option<Lease>),
}

/// The right to store the value being loaded. Released on drop, or other processes would wait for a load that has ended.
struct Lease {
    redis: Redis,
    tasks: TaskTracker,
    keys: RedisKeys,
    token: u64,
    generation: u64,
    /// The lease was requested; Redis may have granted it even if no answer came.
    may_be_taken: bool,
}

impl Lease {
    async fn take(&mut self, deadline: Instant) -> Result<bool, RedisError> {
        self.may_be_taken = true;
        let taken = self.redis.lease(&self.keys, self.token, LEASE, deadline).await;
        match taken {
            Ok(true) => {}
            Ok(false) | Err(RedisError::Open) => self.may_be_taken = false,
            Err(_) => self.give_back(),
        }
        taken
    }

    fn give_back(&mut self) {
        if !std::mem::take(&mut self.may_be_taken) {
            return;
        }
        // Without a runtime the process is ending; the lease then expires.
        if let Ok(runtime) = Handle::try_current() {
            let (redis, keys, token) = (self.redis.clone(), self.keys.clone(), self.token);
            let release = async move {
                let _ = redis.release(&keys, token).await;
            };
            self.tasks.spawn_on(release, &runtime);
        }
    }

    async fn fill(mut self, bytes: Vec<u8>, stamp: Stamp, errors: metrics::Counter) {
        let ttl = Duration::from_millis(stamp.expires.saturating_sub(stamp.made));
        match self.redis.fill(&self.keys, self.token, &bytes, ttl).await {
            // The script released the lease, or it had been lost.
            Ok(_) => self.may_be_taken = false,
            Err(_) => errors.increment(1),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}
