//! Ending the own membership, and the organisation.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::{AccountError, Accounts, members::done};
use domain::{
    account::SessionOwner,
    audit::Act,
    ids::{OrganizationId, SessionId, UserId},
};
use gateway::audit::act_of;
use gateway::caches;
use store::{accounts::members::Removed, api_keys::RevokedKey};

impl Accounts {
    /// Everything that a removed person could still be let in by ends, here at once and elsewhere within a second.
    pub(super) async fn note_removed(
        &self,
        organization: OrganizationId,
        user: UserId,
        sessions: &[SessionId],
        keys: &[RevokedKey],
    ) {
        // Together: neither is to wait for the other's Redis.
        tokio::join!(
            self.sessions.note_ended(organization, sessions),
            self.api_keys.note_revoked(keys),
            self.forget(organization, user),
            self.forget_conversations(organization, user)
        );
    }

    pub(super) async fn forget_conversations(&self, organization: OrganizationId, user: UserId) {
        let key = caches::conversations_key(organization, user);
        self.caches.conversations.invalidate(&[key]).await;
    }

    /// The time of this process's clock, for what is told of when it was made.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Erases the caller's own account, after a look at the password. The last owner deletes the organisation instead.
    pub async fn leave(&self, caller: &SessionOwner, password: SecretString, from: IpAddr) -> Result<(), AccountError> {
        let user = self.get(caller.organization, caller.user).await?;
        self.confirm(caller, &user, password, from).await?;
        let (this, organization, user) = (self.clone(), caller.organization, caller.user);
        // Whose account is erased leaves no address behind.
        let act = Act {
            address: None,
            ..act_of(caller)
        };
        let leaving = async move {
            let left = this.store.leave(organization, user, &act, this.clock.now()).await?;
            let Removed { sessions, keys } = done(left)?;
            tracing::warn!(target: "mapleai::security", organization_id = %organization, user_id = %user, sessions = sessions.len(), keys = keys.len(), "account erased by its owner");
            this.note_removed(organization, user, &sessions, &keys).await;
            Ok::<_, AccountError>(())
        };
        self.caches.run_detached(leaving).await
    }

    /// Deletes the caller's organisation, for its owners, after a look at the password: from `grace` on, until when it can be
    /// taken back. Gives when.
    pub async fn delete_organization(
        &self,
        caller: &SessionOwner,
        password: SecretString,
        from: IpAddr,
    ) -> Result<DateTime<Utc>, AccountError> {
        let user = self.get(caller.organization, caller.user).await?;
        self.confirm(caller, &user, password, from).await?;
        let grace = chrono::Duration::from_std(self.organization_grace).unwrap_or_default();
        let now = self.clock.now();
        let after = now + grace;
        if !self
            .store
            .set_deletion(caller.organization, caller.user, Some(after), &act_of(caller), now)
            .await?
        {
            return Err(AccountError::NotAllowed);
        }
        tracing::warn!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, %after, "organization will be deleted");
        Ok(after)
    }

    /// Takes the deletion of the caller's organisation back.
    pub async fn restore_organization(&self, caller: &SessionOwner) -> Result<(), AccountError> {
        let (act, now) = (act_of(caller), self.clock.now());
        let done = self
            .store
            .set_deletion(caller.organization, caller.user, None, &act, now);
        if !done.await? {
            return Err(AccountError::NotAllowed);
        }
        tracing::warn!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, "deletion of the organization taken back");
        Ok(())
    }
}
