//! Who presents a key, and noting that it is used.

use std::{net::IpAddr, sync::PoisonError};

use chrono::{DateTime, Utc};

use super::{ApiKeyError, ApiKeys, NOTE_INTERVAL};
use crypto::secret::{self, SecretKind};
use domain::account::KeyOwner;
use gateway::caches;

/// Keys that are looked up before there is anybody to ask for them.
const WARM: i64 = 1_000;
/// Keys whose use is waiting to be noted; beyond that a use goes unnoted until the next flush.
const MAX_UNRECORDED: usize = 100_000;

impl ApiKeys {
    /// Who presents this key.
    pub async fn authenticate(&self, key: &str, from: IpAddr) -> Result<KeyOwner, ApiKeyError> {
        let digest = secret::digest_of(SecretKind::ApiKey, key).ok_or(ApiKeyError::InvalidKey)?;
        let cached = caches::api_key_key(&digest);
        // Keys in memory are good from everywhere at once: others may share the address. Any other may be good, too.
        let _look = if self.unknown.is_suspect(from) && self.caches.api_keys.peek(&cached).is_none() {
            Some(self.unknown.admit_lookup(from).await?)
        } else {
            None
        };
        let (store, unknown, now) = (&self.store, &self.unknown, self.clock.now());
        let find = || {
            let (store, unknown) = (store.clone(), unknown.clone());
            async move { unknown.look_up(from, store.find(&digest, now)).await }
        };
        let owner = self.caches.api_keys.get_or_load(cached, find).await?;
        match owner {
            Some(owner)
                if owner.expires_at.is_none_or(|expires_at| expires_at > now)
                    && !self.revoked.contains_key(&digest) =>
            {
                self.note_use(&owner, now);
                Ok(owner)
            }
            _ => Err(ApiKeyError::InvalidKey),
        }
    }

    fn note_use(&self, owner: &KeyOwner, now: DateTime<Utc>) {
        let noted = self.noted.get(&owner.key);
        if noted.is_some_and(|at| (now - at).abs() < NOTE_INTERVAL) {
            return;
        }
        self.noted.insert(owner.key, now);
        self.activity.note(owner.organization, owner.user);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() < MAX_UNRECORDED {
            used.insert(owner.key, now);
        }
    }

    /// Looks up the keys that are likely to be used next. Gives how many.
    pub async fn warm_up(&self) -> Result<usize, ApiKeyError> {
        let keys = self.store.most_used(self.clock.now(), WARM).await?;
        let count = keys.len();
        for (digest, owner) in keys {
            let found = || async move { Ok(Some(owner)) };
            self.caches
                .api_keys
                .get_or_load(caches::api_key_key(&digest), found)
                .await?;
        }
        Ok(count)
    }

    /// Writes down when keys were last used. Kept for the next try if the database is away.
    pub async fn note_used(&self) -> Result<(), ApiKeyError> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        if used.is_empty() {
            return Ok(());
        }
        let batch: Vec<_> = used.into_iter().collect();
        if let Err(error) = self.store.touch(&batch).await {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, at) in batch {
                used.entry(key).or_insert(at);
            }
            return Err(error.into());
        }
        Ok(())
    }
}
