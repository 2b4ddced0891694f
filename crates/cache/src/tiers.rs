//! State that all classes share: Redis, time, and how long entries in memory stay valid.
//!
//! Entries in memory are valid for the whole lifetime of their class only while this process receives the invalidations of
//! the others. Without the channel, an entry that a write could have made wrong is valid for `local_ttl` (seconds); when the
//! channel is back, all earlier mutable entries are dropped, since the messages sent meanwhile are lost.
//!
//! Redis is trusted as long as every invalidation arrived ([`invalidation_broadcast`]). After an undelivered one, this process
//! ends the *epoch* of all mutable classes as soon as Redis is back: entries of an earlier epoch are a miss for every process.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

mod invalidation_broadcast;
mod purge;
mod validity;

use super::{class::Class, key::Scope, redis::Redis};
use crypto::seal::Sealer;
use domain::{clock::Clock, ids::OrganizationId};
pub(super) use purge::LAST_PURGE;
pub use purge::PurgeScope;
use purge::Purges;

/// The memory tier of a class, without its value type.
pub(super) trait LocalTier: Send + Sync {
    fn class(&self) -> Class;
    fn forget_hash(&self, hash: [u8; 32]);
    fn forget_organization(&self, organization: OrganizationId);
    fn forget_all(&self);
    fn free_expired(&self);
    fn stats(&self) -> CacheStats;
}

/// One class's share of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct CacheStats {
    pub class: &'static str,
    pub entries: u64,
    pub bytes: u64,
    pub hits: u64,
    pub misses: u64,
    /// Entries evicted for lack of room.
    pub evictions: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Tiers(Arc<TiersInner>);

struct TiersInner {
    redis: Option<Redis>,
    /// Encrypts the values in Redis.
    sealer: ArcSwap<Sealer>,
    clock: Clock,
    started: Instant,
    local_ttl: u64,
    instance: u64,
    /// When the last message came; 0 for never. Milliseconds since `started`, as all times here.
    last_message: AtomicU64,
    /// Mutable entries stored earlier are invalid.
    floor: AtomicU64,
    epochs: [AtomicU64; Class::ALL.len()],
    epochs_read: AtomicU64,
    /// An invalidation has not been delivered to Redis yet.
    pending: AtomicBool,
    /// Number of late removals: whether Redis still has the old value is unknown.
    late: AtomicUsize,
    /// Until then Redis counts as refusing writes, as another process reported.
    refused_until: AtomicU64,
    /// Number of the connection on which the server's run id was last checked.
    server_seen: AtomicU64,
    /// When a forged entry was last logged; 0 for never.
    forgery_logged_at: AtomicU64,
    broadcast_permits: Arc<Semaphore>,
    purges: Purges,
    locals: RwLock<Vec<Arc<dyn LocalTier>>>,
    tasks: TaskTracker,
}

impl Tiers {
    /// `local_ttl` limits how long mutable entries are valid without the channel. `instance` distinguishes this process from
    /// the others; any random number.
    pub fn new(
        redis: Option<Redis>,
        sealer: Sealer,
        local_ttl: Duration,
        clock: Clock,
        instance: u64,
        tasks: TaskTracker,
    ) -> Self {
        Self(Arc::new(TiersInner {
            redis,
            sealer: ArcSwap::from_pointee(sealer),
            clock,
            started: Instant::now(),
            local_ttl: u64::try_from(local_ttl.as_millis()).unwrap_or(u64::MAX),
            instance,
            last_message: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            epochs: Default::default(),
            epochs_read: AtomicU64::new(0),
            pending: AtomicBool::new(false),
            late: AtomicUsize::new(0),
            refused_until: AtomicU64::new(0),
            server_seen: AtomicU64::new(0),
            forgery_logged_at: AtomicU64::new(0),
            broadcast_permits: Arc::new(Semaphore::new(invalidation_broadcast::MAX_IN_FLIGHT)),
            purges: Purges::default(),
            locals: RwLock::default(),
            tasks,
        }))
    }

    pub fn redis(&self) -> Option<&Redis> {
        self.0.redis.as_ref()
    }

    /// Tasks that must finish before the process ends.
    pub fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    pub(super) fn sealer(&self) -> Arc<Sealer> {
        self.0.sealer.load_full()
    }

    /// Seals by these secrets from now on, and opens what they have sealed.
    pub fn rotate(&self, sealer: Sealer) {
        self.0.sealer.store(Arc::new(sealer));
    }

    pub(super) fn instance(&self) -> u64 {
        self.0.instance
    }

    pub(super) fn register(&self, local: Arc<dyn LocalTier>) {
        self.0
            .locals
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(local);
    }

    /// Starts at 1, so that 0 can mean never.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Milliseconds since 1970.
    pub(super) fn wall(&self) -> u64 {
        u64::try_from(self.0.clock.now().timestamp_millis()).unwrap_or(0)
    }

    pub(super) fn epoch(&self, class: Class) -> u64 {
        self.0.epochs[class as usize].load(Ordering::Relaxed)
    }

    /// Takes over the epochs read from Redis, and drops memory entries of a class whose epoch has changed.
    pub(super) fn note_epochs(&self, epoch_of: impl Fn(Class) -> u64) {
        let first = self.0.epochs_read.load(Ordering::Relaxed) == 0;
        for class in Class::ALL {
            let epoch = epoch_of(class);
            if self.0.epochs[class as usize].swap(epoch, Ordering::Relaxed) != epoch && !first {
                self.each_local(|local| {
                    if local.class() == class {
                        local.forget_all();
                    }
                });
            }
        }
        self.0.epochs_read.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn each_local(&self, mut act: impl FnMut(&dyn LocalTier)) {
        for local in self.0.locals.read().unwrap_or_else(PoisonError::into_inner).iter() {
            act(&**local);
        }
    }

    /// Frees entries that will not be served any more; otherwise they stay until their room is needed.
    pub fn free_expired(&self) {
        self.each_local(|local| local.free_expired());
    }

    /// Figures of the memory tier, per class.
    pub fn stats(&self) -> Vec<CacheStats> {
        let mut stats = Vec::new();
        self.each_local(|local| stats.push(local.stats()));
        stats
    }
}

impl From<OrganizationId> for Scope {
    fn from(organization: OrganizationId) -> Self {
        Self::Organization(organization)
    }
}
