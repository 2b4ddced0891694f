//! Sessions: opening, recognising, refreshing and ending them.

mod changes;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use moka::sync::Cache;

use super::{
    activity::Activity,
    caches::{self, Caches, PageCookie},
};
use crate::{
    crypto::{
        access_token::{AccessTokenError, AccessTokens},
        secret::{self, Digest, NoEntropy, SecretKind},
        signing_keys::SigningKeys,
    },
    domain::{
        account::{Session, SessionOwner, User},
        clock::Clock,
        ids::{OrganizationId, SessionId, UserId},
        page::{Page, PageRequest},
        swap::Swap,
    },
    store::{
        self, StoreError,
        sessions::{NewSession, Rotation},
    },
};

/// Sessions whose end is remembered; some 100 bytes each.
const MOST_ENDED: u64 = 100_000;
/// How far back each look for ended sessions goes: far enough for slow commits and clocks that differ.
const LOOK_BACK: TimeDelta = TimeDelta::seconds(60);
/// A person at work is noted so often at most.
const NOTE_INTERVAL: Duration = Duration::from_mins(1);

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
    tokens: Swap<AccessTokens>,
    activity: Activity,
    clock: Clock,
    lasts: Duration,
    caches: Caches,
    /// Sessions known to be over, whatever any cache says: one that missed a message, or came back from the dead with old
    /// data, must not sign anybody in again.
    ended: Cache<SessionId, ()>,
    noted: Cache<UserId, ()>,
    /// Changes of users that this process has taken note of, by when they were made.
    changed: Cache<UserId, DateTime<Utc>>,
}

/// How sessions behave, from `[auth]`.
pub struct SessionRules<'a> {
    pub signing_keys: &'a SigningKeys,
    pub access_token_ttl: Duration,
    pub session_ttl: Duration,
}

impl Sessions {
    pub fn new(
        store: store::sessions::Sessions,
        activity: Activity,
        caches: Caches,
        clock: Clock,
        rules: &SessionRules<'_>,
    ) -> Self {
        Self {
            store,
            activity,
            tokens: Swap::new(AccessTokens::new(rules.signing_keys, rules.access_token_ttl)),
            clock,
            lasts: rules.session_ttl,
            caches,
            ended: Cache::builder()
                .max_capacity(MOST_ENDED)
                .time_to_live(rules.session_ttl)
                .build(),
            noted: Cache::builder()
                .max_capacity(MOST_ENDED)
                .time_to_live(NOTE_INTERVAL)
                .build(),
            changed: Cache::builder()
                .max_capacity(MOST_ENDED)
                .time_to_live(rules.session_ttl)
                .build(),
        }
    }

    /// Signs and verifies access tokens with these from now on.
    pub fn rotate(&self, keys: &SigningKeys) {
        let ttl = self.tokens.get().ttl();
        self.tokens.set(AccessTokens::new(keys, ttl));
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
        // False if whoever signs in is being removed at this moment.
        if !self.store.create(user.organization.id, user.id, &new, now).await? {
            return Err(SessionError::Invalid);
        }
        Ok(session)
    }

    fn tokens_for(
        &self,
        organization: OrganizationId,
        user: UserId,
        session: SessionId,
        refresh_token: String,
    ) -> Result<Tokens, SessionError> {
        let tokens = self.tokens.get();
        let access_token = tokens.issue(user.0, organization.0, session.0, self.clock.now())?;
        Ok(Tokens {
            access_token,
            refresh_token,
            expires_in: tokens.ttl(),
        })
    }

    /// Exchanges a refresh token. One that was used before ends its session.
    pub async fn refresh(&self, refresh_token: &str) -> Result<(SessionOwner, Tokens), SessionError> {
        let old = secret::digest_of(SecretKind::RefreshToken, refresh_token).ok_or(SessionError::Invalid)?;
        let new = secret::generate(SecretKind::RefreshToken)?;
        let (this, next) = (self.clone(), secret::sha256(new.as_bytes()));
        let rotating = async move {
            let rotation = this.store.rotate(&old, &next, this.clock.now()).await?;
            if let Rotation::Reused(organization, session) = rotation {
                this.note_ended(organization, &[session]).await;
            }
            Ok::<_, StoreError>(rotation)
        };
        match self.caches.carry_out(rotating).await? {
            Rotation::Rotated(owner) => {
                let tokens = self.tokens_for(owner.organization, owner.user, owner.session, new)?;
                Ok((owner, tokens))
            }
            Rotation::Reused(_, session) => {
                tracing::warn!(target: "mapleai::security", session_id = %session, "a used refresh token came again; its session is ended");
                Err(SessionError::Invalid)
            }
            Rotation::Unknown => Err(SessionError::Invalid),
        }
    }

    /// Who presents this access token.
    pub async fn authenticate_token(&self, token: &str) -> Result<SessionOwner, SessionError> {
        let now = self.clock.now();
        let claims = self.tokens.get().verify(token, now)?;
        let (organization, session) = (OrganizationId(claims.org), SessionId(claims.sid));
        let owner = self.owner(organization, session, now).await?;
        // The signature vouches for the claims; this guards against a session id meeting another organisation's row.
        let owner = owner.filter(|owner| owner.organization == organization && owner.user.0 == claims.sub);
        self.still_valid(owner, now)
    }

    /// Who presents this cookie.
    pub async fn authenticate_cookie(&self, cookie: &str) -> Result<SessionOwner, SessionError> {
        let now = self.clock.now();
        let digest = secret::digest_of(SecretKind::Cookie, cookie).ok_or(SessionError::Invalid)?;
        let store = self.store.clone();
        let find = || async move {
            let owner = store.find_by_cookie(&digest, now).await?;
            Ok(owner.map(|owner| PageCookie {
                organization: owner.organization,
                session: owner.session,
            }))
        };
        let found = self
            .caches
            .cookies
            .get_or_load(caches::cookie_key(&digest), find)
            .await?;
        let PageCookie { organization, session } = found.ok_or(SessionError::Invalid)?;
        let owner = self.owner(organization, session, now).await?;
        self.still_valid(owner, now)
    }

    async fn owner(
        &self,
        organization: OrganizationId,
        session: SessionId,
        now: DateTime<Utc>,
    ) -> Result<Option<SessionOwner>, SessionError> {
        let store = self.store.clone();
        let find = || async move { store.find(organization, session, now).await };
        let key = caches::session_key(organization, session);
        let owner = self.caches.sessions.get_or_load(key, find).await?;
        if let Some(owner) = &owner
            && !self.noted.contains_key(&owner.user)
        {
            self.noted.insert(owner.user, ());
            self.activity.note(owner.organization, owner.user);
        }
        Ok(owner)
    }

    fn still_valid(&self, owner: Option<SessionOwner>, now: DateTime<Utc>) -> Result<SessionOwner, SessionError> {
        owner
            .filter(|owner| owner.expires_at > now && !self.ended.contains_key(&owner.session))
            .ok_or(SessionError::Invalid)
    }

    /// Signs out: at once here, and within a second in other processes.
    pub async fn end(&self, organization: OrganizationId, session: SessionId) -> Result<(), SessionError> {
        let this = self.clone();
        let ending = async move {
            this.store.end(organization, session, this.clock.now()).await?;
            this.note_ended(organization, &[session]).await;
            tracing::info!(target: "mapleai::security", organization_id = %organization, session_id = %session, "signed out");
            Ok(())
        };
        self.caches.carry_out(ending).await
    }

    /// Where the caller is signed in, newest first.
    pub async fn list(&self, caller: &SessionOwner, page: PageRequest) -> Result<Page<Session>, SessionError> {
        let now = self.clock.now();
        Ok(self.store.list(caller.organization, caller.user, page, now).await?)
    }

    /// Ends one of the caller's own sessions; false if there is no such session.
    pub async fn end_own(&self, caller: &SessionOwner, session: SessionId) -> Result<bool, SessionError> {
        let (this, caller) = (self.clone(), *caller);
        let ending = async move {
            let ended = this
                .store
                .end_own(caller.organization, caller.user, session, this.clock.now())
                .await?;
            if ended {
                this.note_ended(caller.organization, &[session]).await;
                tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, session_id = %session, "session ended by its owner");
            }
            Ok(ended)
        };
        self.caches.carry_out(ending).await
    }

    /// Ends every session of the caller but this one.
    pub async fn end_others(&self, caller: &SessionOwner) -> Result<(), SessionError> {
        let (this, caller) = (self.clone(), *caller);
        let ending = async move {
            let ended = this
                .store
                .end_others(caller.organization, caller.user, caller.session, this.clock.now())
                .await?;
            this.note_ended(caller.organization, &ended).await;
            tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, ended = ended.len(), "other sessions ended by their owner");
            Ok(())
        };
        self.caches.carry_out(ending).await
    }

    /// Takes note of sessions that the database has as ended already.
    pub(super) async fn note_ended(&self, organization: OrganizationId, sessions: &[SessionId]) {
        for session in sessions {
            self.ended.insert(*session, ());
        }
        let keys: Vec<_> = sessions
            .iter()
            .map(|session| caches::session_key(organization, *session))
            .collect();
        self.caches.sessions.invalidate(&keys).await;
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
