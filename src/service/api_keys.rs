//! API keys: making, recognising and revoking them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{
    activity::{Activity, Feature},
    field::{Faults, FieldFault},
    lookup::Lookup,
};
use crate::{
    crypto::secret::{self, Digest, NoEntropy, SecretKind},
    domain::{
        account::{ApiKey, KeyOwner, SessionOwner},
        clock::Clock,
        ids::{ApiKeyId, UserId},
        page::{Page, PageRequest},
        text,
    },
    store::{self, StoreError},
};

const CAPACITY: u64 = 100_000;
const LONGEST_NAME: usize = 100;
/// Enough of a key to recognise it by, far too little to guess it from.
const SHOWN: usize = 9;
/// Keys whose use is waiting to be noted; beyond that a use goes unnoted until the next flush.
const MOST_UNNOTED: usize = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    #[error("some fields were refused")]
    Invalid(Vec<FieldFault>),
    #[error("the API key is not valid")]
    InvalidKey,
    #[error("there is no such key")]
    NotFound,
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SharedStore(#[from] Arc<StoreError>),
}

#[derive(Clone)]
pub struct ApiKeys {
    store: store::api_keys::ApiKeys,
    activity: Activity,
    clock: Clock,
    known: Lookup<Digest, KeyOwner>,
    /// Noted when a key is looked up, so at most once per look-up lifetime and never on the hot path.
    used: Arc<Mutex<HashMap<ApiKeyId, DateTime<Utc>>>>,
}

impl ApiKeys {
    /// `lookup_ttl` bounds how late a revocation elsewhere takes effect here.
    pub fn new(store: store::api_keys::ApiKeys, activity: Activity, clock: Clock, lookup_ttl: Duration) -> Self {
        Self {
            store,
            activity,
            clock,
            known: Lookup::new(CAPACITY, lookup_ttl),
            used: Arc::default(),
        }
    }

    /// Makes a key. The secret is shown this once.
    pub async fn create(
        &self,
        caller: &SessionOwner,
        name: &str,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<(ApiKey, String), ApiKeyError> {
        let now = self.clock.now();
        let mut faults = Faults::default();
        let name = faults.check("name", text::line(name, LONGEST_NAME));
        if let Some(expires_at) = expires_at
            && (expires_at <= now || expires_at > now + chrono::TimeDelta::days(36_525))
        {
            faults.add("expires_at", "must be in the future, within 100 years");
        }
        let Some(name) = name.filter(|_| faults.is_empty()) else {
            return Err(ApiKeyError::Invalid(faults.into_vec()));
        };
        let key = secret::generate(SecretKind::ApiKey)?;
        let stored = ApiKey {
            id: ApiKeyId::generate(),
            name,
            prefix: key.chars().take(SHOWN).collect(),
            created_at: now,
            expires_at,
            last_used_at: None,
        };
        self.store
            .create(
                caller.organization,
                caller.user,
                &stored,
                &secret::sha256(key.as_bytes()),
            )
            .await?;
        tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, key_id = %stored.id, "API key created");
        Feature::KeyMade.note();
        Ok((stored, key))
    }

    /// The caller's own keys; an admin's view has those of the whole organisation.
    pub async fn list(&self, caller: &SessionOwner, page: PageRequest) -> Result<Page<ApiKey>, ApiKeyError> {
        Ok(self.store.list(caller.organization, own_only(caller), page).await?)
    }

    /// Revokes a key: at once here, and in other processes when their look-up expires.
    pub async fn revoke(&self, caller: &SessionOwner, key: ApiKeyId) -> Result<(), ApiKeyError> {
        let digest = self
            .store
            .revoke(caller.organization, own_only(caller), key, self.clock.now())
            .await?
            .ok_or(ApiKeyError::NotFound)?;
        self.known.forget(&digest).await;
        tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, key_id = %key, "API key revoked");
        Ok(())
    }

    /// Who presents this key.
    pub async fn authenticate(&self, key: &str) -> Result<KeyOwner, ApiKeyError> {
        let digest = secret::digest_of(SecretKind::ApiKey, key).ok_or(ApiKeyError::InvalidKey)?;
        let owner = self.known.get(digest, || self.look_up(digest)).await?;
        match owner {
            Some(owner) if owner.expires_at.is_none_or(|expires_at| expires_at > self.clock.now()) => Ok(owner),
            _ => Err(ApiKeyError::InvalidKey),
        }
    }

    async fn look_up(&self, digest: Digest) -> Result<Option<KeyOwner>, StoreError> {
        let now = self.clock.now();
        let owner = self.store.find(&digest, now).await?;
        if let Some(owner) = &owner {
            self.activity.note(owner.organization, owner.user);
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            if used.len() < MOST_UNNOTED {
                used.insert(owner.key, now);
            }
        }
        Ok(owner)
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

/// An owner or admin handles every key of the organisation, a member the own ones.
fn own_only(caller: &SessionOwner) -> Option<UserId> {
    (!caller.role.may_manage_members()).then_some(caller.user)
}
