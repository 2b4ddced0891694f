//! The memory tier of one class, bounded in bytes (decision 0017).
//!
//! When full, it evicts entries without a hit first, starting with the newest tenth or so: a flood of entries that are requested
//! once does not evict those that are requested again.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use ::metrics::Counter;
use quick_cache::{DefaultHashBuilder, Lifecycle, Options, OptionsBuilder, Weighter, sync::Cache};

use crate::{
    class::{Class, Policy},
    key::Key,
    tiers::Tiers,
    value::Value,
};

/// Bytes per entry beyond its value: table and list slots with their slack, and the remembered keys of evicted entries.
const OVERHEAD: usize = 200;
/// Rough average size of an entry. It decides how many evicted keys are remembered: half as many as entries fit.
const USUAL: u64 = 1024;
/// Share for entries with a second hit; the rest is for new ones. S3-FIFO (SOSP 2023) gives new entries a tenth as well; other
/// shares were not tried here.
const HOT: f64 = 0.9;
/// Parts with a lock of their own, for each core; more if a part would be larger than [`LARGEST_SHARD`] bytes, since purging and
/// freeing look through one at a time. No part has room for fewer than [`ROOM`] of the largest values.
const SHARDS: usize = 4;
const LARGEST_SHARD: u64 = 16 << 20;
const ROOM: u64 = 4;

pub(super) struct Memory<V> {
    entries: Cache<Key, Arc<MemoryEntry<V>>, Bytes, DefaultHashBuilder, Keeper>,
    keeper: Keeper,
    is_off: bool,
}

pub(super) struct MemoryEntry<V> {
    pub(super) value: Option<V>,
    /// When loading it began, by [`Tiers::now`]: a write since then may not be in it.
    pub(super) stored: u64,
    pub(super) expires: u64,
    /// When it was inserted here, and its age then: another process may have made it before this one started.
    came: u64,
    came_aged: u64,
    pub(super) hits: AtomicU32,
    pub(super) refreshing: AtomicBool,
    weight: u32,
}

impl<V> MemoryEntry<V> {
    /// Since it was made, wherever that was. `now` is of [`Tiers::now`].
    pub(super) fn age(&self, now: u64) -> Duration {
        Duration::from_millis(now.saturating_sub(self.came) + self.came_aged)
    }
}

#[derive(Clone)]
struct Bytes;

impl<V> Weighter<Key, Arc<MemoryEntry<V>>> for Bytes {
    fn weight(&self, _: &Key, entry: &Arc<MemoryEntry<V>>) -> u64 {
        entry.weight.into()
    }
}

/// Decides which entries may be served, and counts evictions of entries that still could be.
#[derive(Clone)]
struct Keeper {
    tiers: Tiers,
    class: Class,
    evictions: Arc<AtomicU64>,
    counted: Counter,
}

impl Keeper {
    fn may_serve<V>(&self, entry: &MemoryEntry<V>, now: u64) -> bool {
        now < entry.expires && self.tiers.is_valid(self.class, entry.stored, now)
    }
}

impl<V> Lifecycle<Key, Arc<MemoryEntry<V>>> for Keeper {
    /// What is freed only once the lock is given back, as far as there is room: one or two make room for one.
    type RequestState = [Option<Arc<MemoryEntry<V>>>; 2];

    /// Not called for what is replaced or removed.
    fn before_evict(&self, _: &mut Self::RequestState, _: &Key, entry: &mut Arc<MemoryEntry<V>>) {
        if self.may_serve(entry, self.tiers.now()) {
            self.evictions.fetch_add(1, Ordering::Relaxed);
            self.counted.increment(1);
        }
    }

    fn on_evict(&self, freed: &mut Self::RequestState, _: Key, entry: Arc<MemoryEntry<V>>) {
        if let Some(keys) = freed.iter_mut().find(|keys| keys.is_none()) {
            *keys = Some(entry);
        }
    }
}

impl<V: Value> Memory<V> {
    pub(super) fn new(tiers: &Tiers, class: Class, policy: Policy, evictions: Counter) -> Self {
        let keeper = Keeper {
            tiers: tiers.clone(),
            class,
            evictions: Arc::default(),
            counted: evictions,
        };
        let entries = Cache::with_options(options(policy), Bytes, DefaultHashBuilder::default(), keeper.clone());
        Self {
            entries,
            keeper,
            is_off: policy.memory_bytes == 0,
        }
    }

    /// A new entry, not inserted yet. `begun` is [`Tiers::now`] before the load began; `made` and `expires` are milliseconds
    /// since 1970.
    pub(super) fn entry(&self, value: Option<V>, begun: u64, made: u64, expires: u64) -> Arc<MemoryEntry<V>> {
        let tiers = &self.keeper.tiers;
        let (now, wall) = (tiers.now(), tiers.wall());
        let weight = OVERHEAD + size_of::<MemoryEntry<V>>() + value.as_ref().map_or(0, V::weight);
        Arc::new(MemoryEntry {
            value,
            stored: begun,
            expires: now.saturating_add(expires.saturating_sub(wall)),
            came: now,
            came_aged: wall.saturating_sub(made),
            hits: AtomicU32::new(0),
            refreshing: AtomicBool::new(false),
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
        })
    }

    /// The entry, if it is valid, and the time of that check, by [`Tiers::now`].
    pub(super) fn get(&self, key: &Key) -> Option<(Arc<MemoryEntry<V>>, u64)> {
        let entry = self.entries.get(key)?;
        let now = self.keeper.tiers.now();
        self.keeper.may_serve(&entry, now).then_some((entry, now))
    }

    pub(super) fn insert(&self, key: Key, entry: &Arc<MemoryEntry<V>>) {
        if !self.is_off {
            self.entries.insert(key, Arc::clone(entry));
        }
    }

    pub(super) fn remove(&self, key: &Key) {
        self.entries.remove(key);
    }

    /// Gives how many.
    pub(super) fn remove_where(&self, concerned: impl Fn(&Key) -> bool) -> u64 {
        self.remove_entries(|key, _| concerned(key))
    }

    /// Frees what nobody will be given any more.
    pub(super) fn remove_expired(&self) {
        let Keeper { tiers, class, .. } = &self.keeper;
        let now = tiers.now();
        self.remove_entries(|_, entry| entry.expires <= now || tiers.is_invalidated(*class, entry.stored));
    }

    fn remove_entries(&self, concerned: impl Fn(&Key, &MemoryEntry<V>) -> bool) -> u64 {
        let removed = Cell::new(0);
        self.entries.retain(|key, entry| {
            let goes = concerned(key, entry);
            removed.set(removed.get() + u64::from(goes));
            !goes
        });
        removed.get()
    }

    /// Entries and bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.entries.len() as u64, self.entries.weight())
    }

    pub(super) fn evictions(&self) -> u64 {
        self.keeper.evictions.load(Ordering::Relaxed)
    }
}

fn options(policy: Policy) -> Options {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    OptionsBuilder::new()
        .shards(shards(policy, cores))
        .estimated_items_capacity(usize::try_from(policy.memory_bytes / USUAL).unwrap_or(usize::MAX))
        .weight_capacity(policy.memory_bytes)
        .hot_allocation(HOT)
        .build()
        .unwrap_or_else(|error| unreachable!("both capacities are given: {error}"))
}

/// A power of two, since any other number would be made one upwards.
fn shards(policy: Policy, cores: usize) -> usize {
    let whole = |number| usize::try_from(number).unwrap_or(usize::MAX);
    let wanted = whole(policy.memory_bytes / LARGEST_SHARD).max(cores * SHARDS);
    let fitting = whole(policy.memory_bytes / (ROOM * policy.largest.max(1)));
    1 << fitting.clamp(1, wanted).ilog2()
}

#[cfg(test)]
mod tests {
    use super::{LARGEST_SHARD, ROOM, shards};
    use crate::class::Policy;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn parts_have_room_for_large_values_and_are_no_larger_than_that_takes(
            memory_bytes in 0..1_u64 << 40, largest in 1024..64_u64 << 20, cores in 1..256_usize
        ) {
            let policy = Policy { ttl: Duration::ZERO, absent_ttl: Duration::ZERO, memory_bytes, largest };
            let count = shards(policy, cores);
            let part = memory_bytes / count as u64;
            prop_assert!(count.is_power_of_two());
            prop_assert!(count == 1 || part >= ROOM * largest);
            prop_assert!(part <= 2 * LARGEST_SHARD.max(ROOM * largest) + 1, "{} parts of {}", count, part);
        }
    }
}
