//! Remembered look-ups of credentials: what lets a request be recognised without a round trip to the database.
//!
//! An answer is believed for a few seconds, which bounds how late a revocation in another process takes effect here.
//! Simultaneous misses share one load; a failed load is not remembered.

use std::{hash::Hash, sync::Arc, time::Duration};

use moka::{future, sync};

use crate::store::StoreError;

/// Absence is remembered as well (`None`), so that a revoked key that keeps knocking costs no more than a good one.
///
/// Answers are in a cache that is read without awaiting: the future of a request carries every await it might come to,
/// and this one is on the way of all of them.
#[derive(Clone)]
pub struct Lookup<K, V> {
    known: sync::Cache<K, Option<V>>,
    /// Loads under way, shared by whoever waits for the same key.
    loading: future::Cache<K, Option<V>>,
}

impl<K, V> Lookup<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most `capacity` answers, each believed for `ttl`.
    pub fn new(capacity: u64, ttl: Duration) -> Self {
        Self {
            known: sync::Cache::builder().max_capacity(capacity).time_to_live(ttl).build(),
            loading: future::Cache::builder()
                .max_capacity(capacity)
                .time_to_live(ttl)
                .build(),
        }
    }

    /// `load` is asked only on a miss. It makes its future then, so that those who hit do not carry room for it.
    pub async fn get<F>(&self, key: K, load: impl FnOnce() -> F) -> Result<Option<V>, Arc<StoreError>>
    where
        F: Future<Output = Result<Option<V>, StoreError>> + Send,
    {
        if let Some(known) = self.known.get(&key) {
            return Ok(known);
        }
        Box::pin(self.load(key, load())).await
    }

    async fn load(
        &self,
        key: K,
        load: impl Future<Output = Result<Option<V>, StoreError>> + Send,
    ) -> Result<Option<V>, Arc<StoreError>> {
        let remembered = async {
            let found = load.await?;
            self.known.insert(key.clone(), found.clone());
            Ok(found)
        };
        let found = self.loading.try_get_with(key.clone(), remembered).await;
        self.loading.invalidate(&key).await;
        found
    }

    pub async fn forget(&self, key: &K) {
        self.loading.invalidate(key).await;
        self.known.invalidate(key);
    }

    /// Forgets all answers that `stale` holds for. Walks the whole cache: for rare events.
    pub fn forget_if(&self, stale: impl Fn(&V) -> bool) {
        for (key, value) in &self.known {
            if value.as_ref().is_some_and(&stale) {
                self.known.invalidate(&*key);
            }
        }
    }
}
