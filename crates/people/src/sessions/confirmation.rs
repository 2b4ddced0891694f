//! Whether whoever uses a session has given the password lately: what gives rights, or takes them, asks for it again.

use chrono::TimeDelta;

use super::{SessionError, Sessions};
use domain::account::SessionOwner;
use gateway::audit::act_of;
use gateway::caches;

impl Sessions {
    /// Refuses unless the password was given in this session lately, at signing in or since.
    pub async fn require_confirmed(&self, caller: &SessionOwner) -> Result<(), SessionError> {
        if self.is_confirmed(caller) {
            return Ok(());
        }
        // It may have been confirmed by way of another process a moment ago.
        let now = self.clock.now();
        let found = self.store.find(caller.organization, caller.session, now).await?;
        let owner = found.ok_or(SessionError::Invalid)?;
        if self.is_confirmed(&owner) {
            self.forget(caller).await;
            Ok(())
        } else {
            Err(SessionError::Unconfirmed)
        }
    }

    /// Notes that the caller has given the password that `verified` is the hash of; false if it is not theirs any more.
    pub(crate) async fn note_confirmed(&self, caller: &SessionOwner, verified: &str) -> Result<bool, SessionError> {
        let now = self.clock.now();
        let noted = self
            .store
            .confirm(
                caller.organization,
                caller.user,
                caller.session,
                verified,
                &act_of(caller),
                now,
            )
            .await?;
        self.forget(caller).await;
        Ok(noted)
    }

    fn is_confirmed(&self, owner: &SessionOwner) -> bool {
        let limit = TimeDelta::from_std(self.confirmed_for).unwrap_or(TimeDelta::zero());
        self.clock.now() - owner.confirmed_at < limit
    }

    async fn forget(&self, caller: &SessionOwner) {
        let key = caches::session_key(caller.organization, caller.session);
        self.caches.sessions.invalidate(&[key]).await;
    }
}
