//! API keys: making, recognising and revoking them.

mod strangers;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use moka::sync::Cache;

use super::{
    activity::{Activity, Feature},
    caches::{self, Caches},
    field::{Faults, FieldFault},
    throttle::Throttled,
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
    store::{self, StoreError, api_keys::NewKey},
};
use strangers::Strangers;

/// Keys whose revocation, or whose use, is remembered.
const CAPACITY: u64 = 100_000;
const MOST_AT_ONCE: i64 = 10_000;
/// A key's use is noted so often at most.
const NOTE_INTERVAL: Duration = Duration::from_secs(4);
/// How long a revocation overrules every cache.
const REVOKED_FOR: Duration = Duration::from_hours(24);
/// Older revocations have been spread by others long ago.
const RECENT: TimeDelta = TimeDelta::minutes(10);
/// Keys that are looked up before there is anybody to ask for them.
const WARM: i64 = 1_000;
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
    /// An unknown key after many others from the same address.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    #[error("there is no such key")]
    NotFound,
    #[error("the caller is not a member any more")]
    NotMember,
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
    caches: Caches,
    strangers: Strangers,
    /// Known to be revoked, whatever any cache says.
    revoked: Cache<Digest, ()>,
    noted: Cache<ApiKeyId, ()>,
    /// Noted now and again, not for each request.
    used: Arc<Mutex<HashMap<ApiKeyId, DateTime<Utc>>>>,
}

impl ApiKeys {
    /// Each address may present `most_unknown` keys that nobody has in a `window`.
    pub fn new(
        store: store::api_keys::ApiKeys,
        activity: Activity,
        caches: Caches,
        clock: Clock,
        most_unknown: u32,
        window: Duration,
    ) -> Self {
        Self {
            strangers: Strangers::new(most_unknown, window),
            store,
            activity,
            clock,
            caches,
            revoked: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(REVOKED_FOR)
                .build(),
            noted: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(NOTE_INTERVAL)
                .build(),
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
        let (id, prefix) = (ApiKeyId::generate(), key.chars().take(SHOWN).collect::<String>());
        let new = NewKey {
            id,
            name: &name,
            prefix: &prefix,
            digest: &secret::sha256(key.as_bytes()),
            expires_at,
        };
        let maker_name = self
            .store
            .create(caller.organization, caller.user, &new, now)
            .await?
            .ok_or(ApiKeyError::NotMember)?;
        let stored = ApiKey {
            id,
            name,
            prefix,
            maker: caller.user,
            maker_name,
            created_at: now,
            expires_at,
            last_used_at: None,
        };
        tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, key_id = %stored.id, "API key created");
        Feature::KeyMade.note();
        Ok((stored, key))
    }

    /// The caller's own keys; an admin's view has those of the whole organisation.
    pub async fn list(&self, caller: &SessionOwner, page: PageRequest) -> Result<Page<ApiKey>, ApiKeyError> {
        Ok(self.store.list(caller.organization, own_only(caller), page).await?)
    }

    /// Revokes a key: at once here, and within a second in other processes.
    pub async fn revoke(&self, caller: &SessionOwner, key: ApiKeyId) -> Result<(), ApiKeyError> {
        let (this, organization, whose) = (self.clone(), caller.organization, own_only(caller));
        let revoking = async move {
            let digest = this
                .store
                .revoke(organization, whose, key, this.clock.now())
                .await?
                .ok_or(ApiKeyError::NotFound)?;
            this.note_revoked(&[digest]).await;
            Ok::<_, ApiKeyError>(())
        };
        self.caches.carry_out(revoking).await?;
        tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, key_id = %key, "API key revoked");
        Ok(())
    }

    /// Who presents this key.
    pub async fn authenticate(&self, key: &str, from: IpAddr) -> Result<KeyOwner, ApiKeyError> {
        let digest = secret::digest_of(SecretKind::ApiKey, key).ok_or(ApiKeyError::InvalidKey)?;
        let cached = caches::api_key_key(&digest);
        // Keys in memory are good from everywhere: others may share the address.
        if let Some(throttled) = self.strangers.refusal(from)
            && self.caches.api_keys.peek(&cached).is_none()
        {
            self.strangers.count_refusal();
            return Err(throttled.into());
        }
        let (store, strangers, now) = (&self.store, &self.strangers, self.clock.now());
        let find = || {
            let (store, strangers) = (store.clone(), strangers.clone());
            async move { strangers.look_up(from, store.find(&digest, now)).await }
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
        if self.noted.contains_key(&owner.key) {
            return;
        }
        self.noted.insert(owner.key, ());
        self.activity.note(owner.organization, owner.user);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() < MOST_UNNOTED {
            used.insert(owner.key, now);
        }
    }

    /// Takes note of keys that the database has as revoked already.
    pub(super) async fn note_revoked(&self, digests: &[Digest]) {
        for digest in digests {
            self.revoked.insert(*digest, ());
        }
        let keys: Vec<_> = digests.iter().map(caches::api_key_key).collect();
        self.caches.api_keys.invalidate(&keys).await;
    }

    /// Takes note of what other processes revoked, from the database; see
    /// [`Sessions::take_note_of_ended`](super::sessions::Sessions::take_note_of_ended).
    pub async fn take_note_of_revoked(&self, back: TimeDelta) -> Result<(), ApiKeyError> {
        let since = self.clock.now() - back;
        let mut keys = Vec::new();
        for digest in self.store.revoked_since(since, MOST_AT_ONCE).await? {
            if !self.revoked.contains_key(&digest) {
                self.revoked.insert(digest, ());
                keys.push(caches::api_key_key(&digest));
            }
        }
        if back <= RECENT && !keys.is_empty() {
            self.caches.api_keys.invalidate(&keys).await;
        }
        Ok(())
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

/// An owner or admin handles every key of the organisation, a member the own ones.
fn own_only(caller: &SessionOwner) -> Option<UserId> {
    (!caller.role.may_manage_members()).then_some(caller.user)
}
