//! API keys: making, recognising and revoking them.

mod authentication;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use moka::sync::Cache;

use crate::{activity::ActivityTracker, look_back::Pages, unknown_credentials::UnknownCredentials};
use cache::Class;
use configuration::LimitsConfig;
use crypto::secret::{self, Digest, NoEntropy, SecretKind};
use domain::field::{Faults, FieldFault};
use domain::{
    account::{ApiKey, SessionOwner},
    clock::Clock,
    ids::ApiKeyId,
    page::{Page, PageRequest},
    principal::Credential,
    role::Role,
    text,
};
use gateway::audit::act_of;
use gateway::{
    caches::{self, Caches},
    live_calls::LiveCalls,
};
use store::{
    self, StoreError,
    api_keys::{NewKey, Revocation, RevokedKey},
    limits::LimitReached,
};
use telemetry::feature::Feature;

/// Keys whose revocation, or whose use, is remembered.
const CAPACITY: usize = 100_000;
/// A key's use is noted so often at most.
const NOTE_INTERVAL: TimeDelta = TimeDelta::seconds(4);
/// How long a revocation overrules every cache.
const REVOKED_FOR: Duration = Duration::from_hours(24);
/// Older revocations have been spread by others long ago.
const RECENT: TimeDelta = TimeDelta::minutes(10);
const MAX_NAME_LENGTH: usize = 100;
/// Enough of a key to recognise it by, far too little to guess it from.
const SHOWN: usize = 9;

#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    #[error("some fields were refused")]
    Invalid(Vec<FieldFault>),
    #[error("the API key is not valid")]
    InvalidKey,
    #[error(transparent)]
    LimitReached(#[from] LimitReached),
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
    activity: ActivityTracker,
    clock: Clock,
    caches: Caches,
    unknown: UnknownCredentials,
    live: LiveCalls,
    limits: LimitsConfig,
    /// Known to be revoked, whatever any cache says.
    revoked: Cache<Digest, ()>,
    /// When a key's use was noted. Asked for each request, so it is the quicker kind of cache.
    noted: Arc<quick_cache::sync::Cache<ApiKeyId, DateTime<Utc>>>,
    /// Noted now and again, not for each request.
    used: Arc<Mutex<HashMap<ApiKeyId, DateTime<Utc>>>>,
}

impl ApiKeys {
    pub fn new(
        store: store::api_keys::ApiKeys,
        activity: ActivityTracker,
        caches: Caches,
        clock: Clock,
        unknown: UnknownCredentials,
        live: LiveCalls,
        limits: LimitsConfig,
    ) -> Self {
        Self {
            unknown,
            live,
            limits,
            store,
            activity,
            clock,
            caches,
            revoked: Cache::builder()
                .max_capacity(CAPACITY as u64)
                .time_to_live(REVOKED_FOR)
                .build(),
            noted: Arc::new(quick_cache::sync::Cache::new(CAPACITY)),
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
        let name = faults.check("name", text::line(name, MAX_NAME_LENGTH));
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
            .create(
                caller.organization,
                caller.user,
                &new,
                &self.limits,
                &act_of(caller),
                now,
            )
            .await??
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
        Ok(self
            .store
            .list(caller.organization, caller.user, &managing(), page)
            .await?)
    }

    /// Revokes a key: at once here, and within a second in other processes.
    pub async fn revoke(&self, caller: &SessionOwner, key: ApiKeyId) -> Result<(), ApiKeyError> {
        let (this, organization, whose) = (self.clone(), caller.organization, caller.user);
        let act = act_of(caller);
        let revoking = async move {
            let revoked = this
                .store
                .revoke(organization, whose, &managing(), key, &act, this.clock.now())
                .await?
                .ok_or(ApiKeyError::NotFound)?;
            this.note_revoked(&[revoked]).await;
            Ok::<_, ApiKeyError>(())
        };
        self.caches.run_detached(revoking).await?;
        tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, key_id = %key, "API key revoked");
        Ok(())
    }

    /// Takes note of keys that the database has as revoked already.
    pub(super) async fn note_revoked(&self, revoked: &[RevokedKey]) {
        for key in revoked {
            self.revoked.insert(key.digest, ());
            self.live.end(Credential::Key(key.id));
        }
        let keys: Vec<_> = revoked.iter().map(|key| caches::api_key_key(&key.digest)).collect();
        self.caches.api_keys.invalidate(&keys).await;
    }

    /// Takes note of what other processes revoked, from the database; see
    /// [`Sessions::take_note_of_ended`](crate::sessions::Sessions::take_note_of_ended).
    pub async fn take_note_of_revoked(&self, back: TimeDelta, pages: Pages) -> Result<(), ApiKeyError> {
        let since = self.clock.now() - back;
        let page = |last, rows| self.store.revoked_since(since, last, rows);
        let found = pages.read(page).await?;
        let mut keys = Vec::new();
        for Revocation { key, .. } in found.rows {
            if !self.revoked.contains_key(&key.digest) {
                self.revoked.insert(key.digest, ());
                self.live.end(Credential::Key(key.id));
                keys.push(caches::api_key_key(&key.digest));
            }
        }
        if back <= RECENT && !keys.is_empty() {
            self.caches.api_keys.invalidate(&keys).await;
        }
        if found.is_cut {
            self.caches.forget_class(Class::ApiKey, "revoked keys").await;
        }
        Ok(())
    }
}

/// The roles that handle every key of the organisation; others handle their own. The database says who has one of them now:
/// what a session remembers may be some seconds old.
fn managing() -> Vec<String> {
    Role::names(Role::may_manage_members)
}
