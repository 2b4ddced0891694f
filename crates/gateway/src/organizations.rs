//! What an organisation has settled for the calls of its people and programs.

use std::sync::Arc;

use cache::Key;
use domain::{account::OrganizationSettings, ids::OrganizationId};
use store::StoreError;

use crate::caches::Caches;

/// Reads settings by way of the cache. Cheap to clone.
#[derive(Clone)]
pub struct SettingsReader {
    store: store::organizations::Organizations,
    caches: Caches,
}

impl SettingsReader {
    pub fn new(store: store::organizations::Organizations, caches: Caches) -> Self {
        Self { store, caches }
    }

    /// What memory has, without waiting. `key` is [`caches::organization_key`](crate::caches::organization_key)'s.
    pub(crate) fn cached(&self, key: &Key) -> Option<OrganizationSettings> {
        self.caches.organizations.peek(key)?.value
    }

    /// The settings, and while they cannot be read the safe ones: nothing is shared.
    pub(crate) async fn get(&self, organization: OrganizationId, key: Key) -> OrganizationSettings {
        if let Some(cached) = self.cached(&key) {
            return cached;
        }
        let store = self.store.clone();
        let load = || async move { store.settings(organization).await };
        let loaded: Result<_, Arc<StoreError>> = Box::pin(self.caches.organizations.get_or_load(key, load)).await;
        loaded.ok().flatten().unwrap_or_default()
    }
}
