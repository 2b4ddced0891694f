//! Forgetting: after a write, on behalf of other processes, and what has expired.

use std::sync::atomic::Ordering;

use super::{Cached, CachedInner};
use crate::{
    class::Class,
    key::Key,
    tiers::{CacheStats, LocalTier},
    value::Value,
};
use domain::ids::OrganizationId;

impl<V: Value, E: Send + Sync + 'static> Cached<V, E> {
    /// After the write that made them wrong: forgotten here at once, and everywhere within a second, whether or not the
    /// caller stays to see it.
    pub async fn invalidate(&self, keys: &[Key]) {
        for key in keys {
            self.0.forget(key);
        }
        self.0.tiers.broadcast_invalidation(keys).await;
    }
}

impl<V: Value, E: Send + Sync + 'static> CachedInner<V, E> {
    fn forget(&self, key: &Key) {
        // In this order: a load that lands in between finds itself overtaken.
        self.flights.invalidate(key);
        self.memory.remove(key);
        self.metrics.invalidations.increment(1);
    }

    fn forget_where(&self, concerned: impl Fn(&Key) -> bool) {
        self.purges.fetch_add(1, Ordering::AcqRel);
        self.flights.invalidate_all(&concerned);
        self.metrics
            .invalidations
            .increment(self.memory.remove_where(concerned));
    }
}

impl<V: Value, E: Send + Sync + 'static> LocalTier for CachedInner<V, E> {
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
