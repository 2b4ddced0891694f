//! What all classes share: Redis, time, and how far memory may be believed.
//!
//! Memory is believed for a class's whole lifetime only while this process hears what the others invalidate. When it does
//! not, an answer that a write could have made wrong is believed for `local_ttl` (seconds), and when it hears again,
//! everything from before is forgotten, since what was said meanwhile is lost.
//!
//! Redis is believed as long as every invalidation arrived ([`spread`]). One that could not be delivered makes this process, as soon as
//! Redis is back, end the *epoch* of all mutable classes: whatever was stored in an earlier one is a miss for everybody.

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

mod belief;
mod purge;
mod spread;

use super::{class::Class, key::Scope, redis::Redis};
use crate::{
    crypto::seal::Sealer,
    domain::{clock::Clock, ids::OrganizationId},
};
pub(super) use purge::LAST_PURGE;
use purge::Purges;
pub use purge::Reach;

/// What the classes have in memory, for those who know no types.
pub(super) trait Local: Send + Sync {
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
    /// What left memory for want of room.
    pub evictions: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Tiers(Arc<Shared>);

struct Shared {
    redis: Option<Redis>,
    /// For what is kept in Redis.
    sealer: ArcSwap<Sealer>,
    clock: Clock,
    started: Instant,
    local_ttl: u64,
    instance: u64,
    /// When the channel was last heard; 0 for never. Milliseconds since `started`, as all times here.
    heard: AtomicU64,
    /// Mutable answers stored before are not believed.
    floor: AtomicU64,
    epochs: [AtomicU64; Class::ALL.len()],
    epochs_read: AtomicU64,
    /// An invalidation is owed to Redis.
    owing: AtomicBool,
    /// Invalidations that take their time: whether Redis still has the old value is not known.
    late: AtomicUsize,
    /// Until when another process says that Redis refuses writes.
    refused_until: AtomicU64,
    /// The connection on which it was last seen which run of the server this is.
    server_seen: AtomicU64,
    /// When a forged entry was last told of; 0 for never.
    forgery_told: AtomicU64,
    spreading: Arc<Semaphore>,
    purges: Purges,
    locals: RwLock<Vec<Arc<dyn Local>>>,
    tasks: TaskTracker,
}

impl Tiers {
    /// `local_ttl` is how long what others can change is believed without hearing from them. `instance` tells this process
    /// from others; any random number.
    pub fn new(
        redis: Option<Redis>,
        sealer: Sealer,
        local_ttl: Duration,
        clock: Clock,
        instance: u64,
        tasks: TaskTracker,
    ) -> Self {
        Self(Arc::new(Shared {
            redis,
            sealer: ArcSwap::from_pointee(sealer),
            clock,
            started: Instant::now(),
            local_ttl: u64::try_from(local_ttl.as_millis()).unwrap_or(u64::MAX),
            instance,
            heard: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            epochs: Default::default(),
            epochs_read: AtomicU64::new(0),
            owing: AtomicBool::new(false),
            late: AtomicUsize::new(0),
            refused_until: AtomicU64::new(0),
            server_seen: AtomicU64::new(0),
            forgery_told: AtomicU64::new(0),
            spreading: Arc::new(Semaphore::new(spread::MAX_IN_FLIGHT)),
            purges: Purges::default(),
            locals: RwLock::default(),
            tasks,
        }))
    }

    pub fn redis(&self) -> Option<&Redis> {
        self.0.redis.as_ref()
    }

    /// What must be done before the process ends.
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

    pub(super) fn register(&self, local: Arc<dyn Local>) {
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

    /// Takes over the epochs that Redis tells of. What was kept in another is forgotten.
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

    pub(super) fn each_local(&self, mut act: impl FnMut(&dyn Local)) {
        for local in self.0.locals.read().unwrap_or_else(PoisonError::into_inner).iter() {
            act(&**local);
        }
    }

    /// Frees what nobody will be given any more, which otherwise stays until its room is wanted.
    pub fn free_expired(&self) {
        self.each_local(|local| local.free_expired());
    }

    /// What this process has in memory.
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
