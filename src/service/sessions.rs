//! Sessions: opening, recognising, refreshing and ending them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use moka::sync::Cache;

use super::{activity::Activity, lookup::Lookup};
use crate::{
    crypto::{
        access_token::{AccessTokenError, AccessTokens},
        secret::{self, Digest, NoEntropy, SecretKind},
    },
    domain::{
        account::{SessionOwner, User},
        clock::Clock,
        ids::{OrganizationId, SessionId, UserId},
    },
    store::{
        self, StoreError,
        sessions::{NewSession, Rotation},
    },
};

/// Remembered look-ups; a session costs about 200 bytes.
const CAPACITY: u64 = 50_000;

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Not ours, expired, ended, or used before.
    #[error("the credential is not valid")]
    Invalid,
    #[error(transparent)]
    Token(#[from] AccessTokenError),
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SharedStore(#[from] Arc<StoreError>),
}

/// What a program gets when it signs in. `expires_in` is that of the access token.
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
    pub expires_in: Duration,
}

/// What the page gets when its user signs in.
pub struct PageSession {
    pub cookie: String,
    pub lasts: Duration,
}

#[derive(Clone)]
pub struct Sessions {
    store: store::sessions::Sessions,
    tokens: Arc<AccessTokens>,
    activity: Activity,
    clock: Clock,
    lasts: Duration,
    by_id: Lookup<SessionId, SessionOwner>,
    by_cookie: Lookup<Digest, SessionOwner>,
    /// Sessions ended by this process. A look-up that was under way when its session ended may still put the old answer
    /// in the cache; this overrules it until that answer has expired.
    ended: Cache<SessionId, ()>,
}

/// How sessions behave, from `[auth]`.
pub struct SessionRules<'a> {
    pub signing_keys: &'a BTreeMap<String, secrecy::SecretString>,
    pub active_key: &'a str,
    pub access_token_ttl: Duration,
    pub session_ttl: Duration,
    pub lookup_ttl: Duration,
}

impl Sessions {
    pub fn new(
        store: store::sessions::Sessions,
        activity: Activity,
        clock: Clock,
        rules: &SessionRules<'_>,
    ) -> Result<Self, AccessTokenError> {
        Ok(Self {
            store,
            activity,
            tokens: Arc::new(AccessTokens::new(
                rules.signing_keys,
                rules.active_key,
                rules.access_token_ttl,
            )?),
            clock,
            lasts: rules.session_ttl,
            by_id: Lookup::new(CAPACITY, rules.lookup_ttl),
            by_cookie: Lookup::new(CAPACITY, rules.lookup_ttl),
            ended: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(rules.lookup_ttl * 4)
                .build(),
        })
    }

    /// A session for a program.
    pub async fn open(&self, user: &User) -> Result<Tokens, SessionError> {
        let refresh_token = secret::generate(SecretKind::RefreshToken)?;
        let digest = secret::sha256(refresh_token.as_bytes());
        let session = self.create(user, Some(&digest), None).await?;
        self.tokens_for(user.organization.id, user.id, session, refresh_token)
    }

    /// A session for the page.
    pub async fn open_page(&self, user: &User) -> Result<PageSession, SessionError> {
        let cookie = secret::generate(SecretKind::Cookie)?;
        self.create(user, None, Some(&secret::sha256(cookie.as_bytes())))
            .await?;
        Ok(PageSession {
            cookie,
            lasts: self.lasts,
        })
    }

    async fn create(
        &self,
        user: &User,
        refresh: Option<&Digest>,
        cookie: Option<&Digest>,
    ) -> Result<SessionId, SessionError> {
        let session = SessionId::generate();
        let now = self.clock.now();
        let expires_at = now + TimeDelta::from_std(self.lasts).unwrap_or(TimeDelta::days(1));
        let new = NewSession {
            id: session,
            refresh,
            cookie,
            expires_at,
        };
        self.store.create(user.organization.id, user.id, &new, now).await?;
        Ok(session)
    }

    fn tokens_for(
        &self,
        organization: OrganizationId,
        user: UserId,
        session: SessionId,
        refresh_token: String,
    ) -> Result<Tokens, SessionError> {
        let access_token = self.tokens.issue(user.0, organization.0, session.0, self.clock.now())?;
        Ok(Tokens {
            access_token,
            refresh_token,
            expires_in: self.tokens.ttl(),
        })
    }

    /// Exchanges a refresh token. One that was used before ends its session.
    pub async fn refresh(&self, refresh_token: &str) -> Result<(SessionOwner, Tokens), SessionError> {
        let old = secret::digest_of(SecretKind::RefreshToken, refresh_token).ok_or(SessionError::Invalid)?;
        let new = secret::generate(SecretKind::RefreshToken)?;
        match self
            .store
            .rotate(&old, &secret::sha256(new.as_bytes()), self.clock.now())
            .await?
        {
            Rotation::Rotated(owner) => {
                let tokens = self.tokens_for(owner.organization, owner.user, owner.session, new)?;
                Ok((owner, tokens))
            }
            Rotation::Reused(session) => {
                tracing::warn!(target: "mapleai::security", session_id = %session, "a used refresh token came again; its session is ended");
                self.note_ended(session).await;
                Err(SessionError::Invalid)
            }
            Rotation::Unknown => Err(SessionError::Invalid),
        }
    }

    /// Who presents this access token.
    pub async fn authenticate_token(&self, token: &str) -> Result<SessionOwner, SessionError> {
        let now = self.clock.now();
        let claims = self.tokens.verify(token, now)?;
        let (organization, session) = (OrganizationId(claims.org), SessionId(claims.sid));
        let owner = self
            .by_id
            .get(session, || self.noted(self.store.find(organization, session, now)))
            .await?;
        // The signature vouches for the claims; this guards against a session id meeting another organisation's row.
        let owner = owner.filter(|owner| owner.organization == organization && owner.user.0 == claims.sub);
        self.still_valid(owner, now)
    }

    /// Who presents this cookie.
    pub async fn authenticate_cookie(&self, cookie: &str) -> Result<SessionOwner, SessionError> {
        let now = self.clock.now();
        let digest = secret::digest_of(SecretKind::Cookie, cookie).ok_or(SessionError::Invalid)?;
        let owner = self
            .by_cookie
            .get(digest, || self.noted(self.store.find_by_cookie(&digest, now)))
            .await?;
        self.still_valid(owner, now)
    }

    /// Whoever is looked up is at work.
    async fn noted(
        &self,
        found: impl Future<Output = Result<Option<SessionOwner>, StoreError>>,
    ) -> Result<Option<SessionOwner>, StoreError> {
        let found = found.await?;
        if let Some(owner) = &found {
            self.activity.note(owner.organization, owner.user);
        }
        Ok(found)
    }

    fn still_valid(&self, owner: Option<SessionOwner>, now: DateTime<Utc>) -> Result<SessionOwner, SessionError> {
        owner
            .filter(|owner| owner.expires_at > now && !self.ended.contains_key(&owner.session))
            .ok_or(SessionError::Invalid)
    }

    /// Signs out: at once here, and in other processes when their look-up expires.
    pub async fn end(&self, organization: OrganizationId, session: SessionId) -> Result<(), SessionError> {
        self.store.end(organization, session, self.clock.now()).await?;
        self.note_ended(session).await;
        tracing::info!(target: "mapleai::security", organization_id = %organization, session_id = %session, "signed out");
        Ok(())
    }

    /// Ends every other session of a user, as after a change of password.
    pub async fn end_others(
        &self,
        organization: OrganizationId,
        user: UserId,
        kept: SessionId,
    ) -> Result<(), SessionError> {
        for session in self
            .store
            .end_others(organization, user, kept, self.clock.now())
            .await?
        {
            self.note_ended(session).await;
        }
        Ok(())
    }

    async fn note_ended(&self, session: SessionId) {
        self.ended.insert(session, ());
        self.by_id.forget(&session).await;
    }

    /// A user's role has changed: the next request looks it up again.
    pub fn forget_user(&self, user: UserId) {
        self.by_id.forget_if(|owner| owner.user == user);
        self.by_cookie.forget_if(|owner| owner.user == user);
    }

    /// Removes sessions that expired a while ago. Gives how many.
    pub async fn sweep(&self) -> Result<u64, SessionError> {
        Ok(self.store.sweep(self.clock.now() - TimeDelta::days(1), 1_000).await?)
    }
}
