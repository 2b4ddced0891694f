//! Finding what memory does not have: in Redis, or by the loader, once for all who ask, here and in other processes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::{
    Cached, Inner,
    memory::Entry,
    remote::{Asked, REDIS_LIMIT},
};
use crate::cache::{
    flight::{Outcome, Overtaken},
    key::{Key, Place},
    redis::{Redis, RedisError},
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
        let mut lease = Lease {
            redis: redis.clone(),
            tasks: self.tiers.tasks().clone(),
            place,
            token,
            generation,
            may_be_held: false,
        };
        match lease.take(deadline).await {
            Ok(true) => self.load(key, load, overtaken, Some(lease)).await,
            Ok(false) => match self.await_other(key, lease, overtaken).await {
                Other::Loaded(entry) => Ok(entry.value.clone()),
                Other::Left(lease) => self.load(key, load, overtaken, lease).await,
            },
            Err(_) => {
                self.metrics.redis_errors.increment(1);
                self.load(key, load, overtaken, None).await
            }
        }
    }

    /// Another process is loading it. Takes over from one that gave up, and gives up when that takes too long, or Redis goes
    /// away.
    async fn await_other(&self, key: &Key, mut lease: Lease, overtaken: &Overtaken) -> Other<V> {
        let redis = lease.redis.clone();
        let deadline = Instant::now() + LEASE;
        while Instant::now() < deadline {
            tokio::time::sleep(LEASE_POLL).await;
            let deadline = Instant::now() + REDIS_LIMIT;
            match self.ask_redis(&redis, key, &lease.place, deadline, overtaken).await {
                Asked::Hit(entry) => return Other::Loaded(entry),
                Asked::Miss { generation } => lease.generation = generation,
                Asked::Away => return Other::Left(None),
            }
            // It has been given back without a value: its holder's caller has hung up, or a write has come in between.
            match lease.take(deadline).await {
                Ok(true) => return Other::Left(Some(lease)),
                // One that is late says nothing of who has it.
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
        overtaken: &Overtaken,
        lease: Option<Lease>,
    ) -> Outcome<V, E> {
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
        if let Some(lease) = lease.filter(|_| !overtaken.is_so()) {
            let stamp = Stamp {
                generation: lease.generation,
                ..stamp
            };
            if let Some(bytes) = value::write(loaded.as_ref(), stamp, &lease.place.value, &self.tiers.sealer()) {
                let errors = self.metrics.redis_errors.clone();
                self.tiers.tasks().spawn(lease.fill(bytes, stamp, errors));
            }
        }
        self.remember_unless(overtaken, key, loaded.clone(), begun, stamp.made, stamp.expires);
        Ok(loaded)
    }
}

/// What came of another process's load.
enum Other<V> {
    Loaded(Arc<Entry<V>>),
    /// It is for this process to load it, and to share it if it got the lease.
    Left(Option<Lease>),
}

/// The right to store what is being loaded. Given back when it is dropped: whoever is next would wait for a value that nobody
/// is loading any more.
struct Lease {
    redis: Redis,
    tasks: TaskTracker,
    place: Place,
    token: u64,
    generation: u64,
    /// It has been asked for, which may have arrived whether or not an answer came.
    may_be_held: bool,
}

impl Lease {
    async fn take(&mut self, deadline: Instant) -> Result<bool, RedisError> {
        self.may_be_held = true;
        let taken = self.redis.lease(&self.place, self.token, LEASE, deadline).await;
        match taken {
            Ok(true) => {}
            Ok(false) | Err(RedisError::Open) => self.may_be_held = false,
            Err(_) => self.give_back(),
        }
        taken
    }

    fn give_back(&mut self) {
        if !std::mem::take(&mut self.may_be_held) {
            return;
        }
        // Without a runtime the process ends, and the lease with its time.
        if let Ok(runtime) = Handle::try_current() {
            let (redis, place, token) = (self.redis.clone(), self.place.clone(), self.token);
            let release = async move {
                let _ = redis.release(&place, token).await;
            };
            self.tasks.spawn_on(release, &runtime);
        }
    }

    async fn fill(mut self, bytes: Vec<u8>, stamp: Stamp, errors: metrics::Counter) {
        let ttl = Duration::from_millis(stamp.expires.saturating_sub(stamp.made));
        match self.redis.fill(&self.place, self.token, &bytes, ttl).await {
            // It has gone with that, or had been taken away.
            Ok(_) => self.may_be_held = false,
            Err(_) => errors.increment(1),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}
