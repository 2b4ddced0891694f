//! Opening sessions, and the credentials that they are used by.

use std::{net::IpAddr, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use super::{SessionError, Sessions};
use crypto::secret::{self, Digest, SecretKind};
use domain::{
    account::{SessionOwner, User},
    audit::{Action, Actor, Target},
    ids::{OrganizationId, SessionId, UserId},
};
use gateway::audit::act;
use store::{
    StoreError,
    sessions::{NewSession, Rotation, SignIn},
};

/// Somebody whose password was verified just now, or set. Only for them sessions are opened, and only while they have it.
pub struct Proven {
    pub user: User,
    /// What the password was verified against.
    pub(crate) password_hash: String,
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

impl Sessions {
    /// A session for a program.
    pub async fn open(&self, proven: &Proven) -> Result<Tokens, SessionError> {
        let refresh_token = secret::generate(SecretKind::RefreshToken)?;
        let digest = secret::sha256(refresh_token.as_bytes());
        let session = self.create(proven, Some(&digest), None, None).await?;
        let user = &proven.user;
        self.tokens_for(user.organization.id, user.id, session, refresh_token)
    }

    /// A session for the page, in a browser that is called `device`.
    pub async fn open_page(&self, proven: &Proven, device: Option<&str>) -> Result<PageSession, SessionError> {
        let page = self.page_session()?;
        let cookie = secret::sha256(page.cookie.as_bytes());
        self.create(proven, None, Some(&cookie), device).await?;
        Ok(page)
    }

    /// The cookie of a page's session that is to be opened.
    pub(crate) fn page_session(&self) -> Result<PageSession, SessionError> {
        Ok(PageSession {
            cookie: secret::generate(SecretKind::Cookie)?,
            lasts: self.lasts,
        })
    }

    async fn create(
        &self,
        Proven { user, password_hash }: &Proven,
        refresh: Option<&Digest>,
        cookie: Option<&Digest>,
        device: Option<&str>,
    ) -> Result<SessionId, SessionError> {
        let session = SessionId::generate();
        let now = self.clock.now();
        let new = NewSession {
            id: session,
            refresh,
            cookie,
            device,
            expires_at: self.expiry(now),
        };
        let (organization, user) = (user.organization.id, user.id);
        let sign_in = SignIn {
            user,
            password_hash,
            session: &new,
            max_sessions: self.max_per_person,
        };
        let by = act(Actor::User(user));
        let created = self.store.create(organization, &sign_in, &by, now).await?;
        let Some(ended) = created else {
            tracing::warn!(target: "mapleai::security", organization_id = %organization, user_id = %user, "signed in with a password that was changed meanwhile; refused");
            let (action, target) = (Action::SessionSignInFailed, Target::Member(user));
            let event = act(Actor::Unknown).event_about(user, organization, action, target, now);
            self.caches.behind.note(event);
            return Err(SessionError::PasswordChanged);
        };
        if !ended.is_empty() {
            tracing::info!(target: "mapleai::security", organization_id = %organization, user_id = %user, ended = ended.len(), "a person had too many sessions; the oldest are ended");
            self.note_ended(organization, &ended).await;
        }
        Ok(session)
    }

    /// When a session that is opened now ends.
    pub(crate) fn expiry(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now + TimeDelta::from_std(self.lasts).unwrap_or(TimeDelta::days(1))
    }

    fn tokens_for(
        &self,
        organization: OrganizationId,
        user: UserId,
        session: SessionId,
        refresh_token: String,
    ) -> Result<Tokens, SessionError> {
        let tokens = self.tokens.load();
        let access_token = tokens.issue(user.0, organization.0, session.0, self.clock.now())?;
        Ok(Tokens {
            access_token,
            refresh_token,
            expires_in: tokens.ttl(),
        })
    }

    /// Exchanges a refresh token, presented from an address. One that was used before ends its session.
    pub async fn refresh(&self, refresh_token: &str, from: IpAddr) -> Result<(SessionOwner, Tokens), SessionError> {
        let old = secret::digest_of(SecretKind::RefreshToken, refresh_token).ok_or(SessionError::Invalid)?;
        let new = secret::generate(SecretKind::RefreshToken)?;
        let (this, next) = (self.clone(), secret::sha256(new.as_bytes()));
        let act = act(Actor::System);
        let _look = self.unknown.admit_lookup(from).await?;
        let rotating = async move {
            let rotating = async {
                let rotation = this.store.rotate(&old, &next, &act, this.clock.now()).await?;
                Ok(Some(rotation).filter(|rotation| !matches!(rotation, Rotation::Unknown)))
            };
            let rotation = this.unknown.look_up(from, rotating).await?.unwrap_or(Rotation::Unknown);
            if let Rotation::Reused(organization, session) = rotation {
                this.note_ended(organization, &[session]).await;
            }
            Ok::<_, StoreError>(rotation)
        };
        match self.caches.run_detached(rotating).await? {
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
}
