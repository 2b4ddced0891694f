//! Remembered look-ups of credentials: what lets a request be recognised without a round trip to the database.
//!
//! An answer is believed for a few seconds, which bounds how late a revocation in another process takes effect here.
//! Simultaneous misses share one load; a failed load is not remembered.

use std::{hash::Hash, sync::Arc, time::Duration};

use moka::future::Cache;

use crate::store::StoreError;

/// Absence is remembered as well (`None`), so that a revoked key that keeps knocking costs no more than a good one.
#[derive(Clone)]
pub struct Lookup<K, V> {
    cache: Cache<K, Option<V>>,
}

impl<K, V> Lookup<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most `capacity` answers, each believed for `ttl`.
    pub fn new(capacity: u64, ttl: Duration) -> Self {
        Self {
            cache: Cache::builder().max_capacity(capacity).time_to_live(ttl).build(),
        }
    }

    pub async fn get(
        &self,
        key: K,
        load: impl Future<Output = Result<Option<V>, StoreError>>,
    ) -> Result<Option<V>, Arc<StoreError>> {
        if let Some(known) = self.cache.get(&key).await {
            return Ok(known);
        }
        self.cache.try_get_with(key, load).await
    }

    pub async fn forget(&self, key: &K) {
        self.cache.invalidate(key).await;
    }

    /// Forgets all answers that `stale` holds for. Walks the whole cache: for rare events.
    pub async fn forget_if(&self, stale: impl Fn(&V) -> bool) {
        let keys: Vec<K> = self
            .cache
            .iter()
            .filter(|(_, value)| value.as_ref().is_some_and(&stale))
            .map(|(key, _)| (*key).clone())
            .collect();
        for key in keys {
            self.cache.invalidate(&key).await;
        }
    }
}
