//! Sessions: opening, recognising, refreshing and ending them.

mod authentication;
mod changes;
mod confirmation;
mod ending;
mod opening;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use chrono::{DateTime, TimeDelta, Utc};
use moka::sync::Cache;

use crate::{activity::ActivityTracker, unknown_credentials::UnknownCredentials};
use crypto::{
    access_token::{AccessTokenError, AccessTokens},
    device::{Device, DeviceSigner},
    secret::NoEntropy,
    signing_keys::SigningKeys,
};
use domain::{
    account::{Session, SessionOwner},
    clock::Clock,
    ids::{SessionId, UserId},
    page::{Page, PageRequest},
};
use gateway::{caches::Caches, live_calls::LiveCalls};
use store::{self, StoreError};

pub use opening::{PageSession, Proven, Tokens};

/// Sessions whose end is remembered; some 100 bytes each.
const MAX_REVOKED: u64 = 100_000;
/// How far back each look for ended sessions goes: far enough for slow commits and clocks that differ.
const LOOK_BACK: TimeDelta = TimeDelta::seconds(60);
/// A person at work is noted so often at most.
const NOTE_INTERVAL: Duration = Duration::from_mins(1);

/// How long a device is known by the last sign-in on it: longer than anybody is on leave.
pub const DEVICE_TTL: Duration = Duration::from_hours(180 * 24);

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Not ours, expired, ended, or used before.
    #[error("the credential is not valid")]
    Invalid,
    /// The password that was verified is not the person's any more, or the person was removed.
    #[error("the password was changed meanwhile")]
    PasswordChanged,
    /// What was asked for needs a password that was given lately.
    #[error("the password was not confirmed lately")]
    Unconfirmed,
    #[error(transparent)]
    Token(#[from] AccessTokenError),
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SharedStore(#[from] Arc<StoreError>),
}

#[derive(Clone)]
pub struct Sessions {
    store: store::sessions::Sessions,
    tokens: Arc<ArcSwap<AccessTokens>>,
    devices: Arc<ArcSwap<DeviceSigner>>,
    activity: ActivityTracker,
    clock: Clock,
    lasts: Duration,
    confirmed_for: Duration,
    max_per_person: u32,
    caches: Caches,
    unknown: UnknownCredentials,
    live: LiveCalls,
    /// Sessions known to be over, whatever any cache says: one that missed a message, or came back from the dead with old
    /// data, must not sign anybody in again.
    ended: Cache<SessionId, ()>,
    /// Sessions in use that were noted a moment ago.
    noted: Cache<SessionId, ()>,
    /// Changes of users that this process has taken note of, by when they were made.
    changed: Cache<UserId, DateTime<Utc>>,
}

/// How sessions behave, from `[auth]`.
pub struct SessionRules<'a> {
    pub signing_keys: &'a SigningKeys,
    pub access_token_ttl: Duration,
    pub session_ttl: Duration,
    pub confirmation_ttl: Duration,
    /// Sessions of one person; the oldest end for new ones.
    pub max_per_person: u32,
}

impl Sessions {
    pub fn new(
        store: store::sessions::Sessions,
        activity: ActivityTracker,
        caches: Caches,
        clock: Clock,
        unknown: UnknownCredentials,
        live: LiveCalls,
        rules: &SessionRules<'_>,
    ) -> Self {
        Self {
            store,
            activity,
            tokens: Arc::new(ArcSwap::from_pointee(AccessTokens::new(
                rules.signing_keys,
                rules.access_token_ttl,
            ))),
            devices: Arc::new(ArcSwap::from_pointee(DeviceSigner::new(rules.signing_keys.secrets()))),
            clock,
            lasts: rules.session_ttl,
            confirmed_for: rules.confirmation_ttl,
            max_per_person: rules.max_per_person,
            caches,
            unknown,
            live,
            ended: Cache::builder()
                .max_capacity(MAX_REVOKED)
                .time_to_live(rules.session_ttl)
                .build(),
            noted: Cache::builder()
                .max_capacity(MAX_REVOKED)
                .time_to_live(NOTE_INTERVAL)
                .build(),
            changed: Cache::builder()
                .max_capacity(MAX_REVOKED)
                .time_to_live(rules.session_ttl)
                .build(),
        }
    }

    /// Signs and verifies access tokens and proofs of devices with these from now on.
    pub fn rotate(&self, keys: &SigningKeys) {
        let ttl = self.tokens.load().ttl();
        self.tokens.store(Arc::new(AccessTokens::new(keys, ttl)));
        self.devices.store(Arc::new(DeviceSigner::new(keys.secrets())));
    }

    /// A proof that `account` (folded) has been signed in to on this device, for [`DEVICE_TTL`].
    pub fn device_token(&self, address: &str, user: UserId) -> Result<String, NoEntropy> {
        let expires_at = self.clock.now() + TimeDelta::from_std(DEVICE_TTL).unwrap_or_default();
        self.devices
            .load()
            .token(address, *user.0.as_bytes(), expires_at.timestamp())
    }

    pub(super) fn device_of(&self, address: &str, token: &str) -> Option<Device> {
        self.devices.load().verify(address, token, self.clock.now().timestamp())
    }

    /// Where the caller is signed in, newest first.
    pub async fn list(&self, caller: &SessionOwner, page: PageRequest) -> Result<Page<Session>, SessionError> {
        let now = self.clock.now();
        Ok(self.store.list(caller.organization, caller.user, page, now).await?)
    }

    /// How far back to look regularly, and at first: for as long as a cached session may live.
    pub fn look_back(&self) -> (TimeDelta, TimeDelta) {
        (LOOK_BACK, TimeDelta::from_std(self.lasts).unwrap_or(TimeDelta::days(1)))
    }

    /// Removes sessions that expired a while ago. Gives how many.
    pub async fn sweep(&self) -> Result<u64, SessionError> {
        Ok(self.store.sweep(self.clock.now() - TimeDelta::days(1), 1_000).await?)
    }
}
