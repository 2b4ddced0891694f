//! Who presents a credential.

use std::net::IpAddr;

use chrono::{DateTime, Utc};

use super::{SessionError, Sessions};
use crypto::secret::{self, SecretKind};
use domain::{
    account::SessionOwner,
    ids::{OrganizationId, SessionId},
};
use gateway::caches::{self, PageCookie};

impl Sessions {
    /// Who presents this access token.
    pub async fn authenticate_token(&self, token: &str) -> Result<SessionOwner, SessionError> {
        let now = self.clock.now();
        let claims = self.tokens.load().verify(token, now)?;
        let (organization, session) = (OrganizationId(claims.org), SessionId(claims.sid));
        let owner = self.owner(organization, session, now).await?;
        // The signature vouches for the claims; this guards against a session id meeting another organisation's row.
        let owner = owner.filter(|owner| owner.organization == organization && owner.user.0 == claims.sub);
        self.still_valid(owner, now)
    }

    /// Who presents this cookie, from where.
    pub async fn authenticate_cookie(&self, cookie: &str, from: IpAddr) -> Result<SessionOwner, SessionError> {
        let now = self.clock.now();
        let digest = secret::digest_of(SecretKind::Cookie, cookie).ok_or(SessionError::Invalid)?;
        let cached = caches::cookie_key(&digest);
        // One that is in memory is good from everywhere at once; any other may be made up.
        let _look = if self.unknown.is_suspect(from) && self.caches.cookies.peek(&cached).is_none() {
            Some(self.unknown.admit_lookup(from).await?)
        } else {
            None
        };
        let (store, unknown) = (self.store.clone(), self.unknown.clone());
        let find = || async move {
            let owner = unknown.look_up(from, store.find_by_cookie(&digest, now)).await?;
            Ok(owner.map(|owner| PageCookie {
                organization: owner.organization,
                session: owner.session,
            }))
        };
        let found = self.caches.cookies.get_or_load(cached, find).await?;
        let PageCookie { organization, session } = found.ok_or(SessionError::Invalid)?;
        let owner = self.owner(organization, session, now).await?;
        self.still_valid(owner, now)
    }

    /// Refuses once the session is over: for what goes on for long after it was recognised.
    pub async fn require_open(&self, caller: &SessionOwner) -> Result<(), SessionError> {
        let now = self.clock.now();
        let owner = self.owner(caller.organization, caller.session, now).await?;
        self.still_valid(owner, now).map(|_| ())
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
            && !self.noted.contains_key(&owner.session)
        {
            self.noted.insert(owner.session, ());
            self.activity.note(owner.organization, owner.user);
            self.activity.note_session(owner.organization, owner.session);
        }
        Ok(owner)
    }

    fn still_valid(&self, owner: Option<SessionOwner>, now: DateTime<Utc>) -> Result<SessionOwner, SessionError> {
        owner
            .filter(|owner| owner.expires_at > now && !self.ended.contains_key(&owner.session))
            .ok_or(SessionError::Invalid)
    }
}
