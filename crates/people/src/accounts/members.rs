//! What members of an organisation see of each other and do to each other.

use super::{AccountError, Accounts};
use domain::{
    account::{SessionOwner, User},
    ids::{OrganizationId, UserId},
    page::{Page, PageRequest},
    role::Role,
};
use gateway::audit::act_of;
use store::accounts::members::{Removed, RoleChange};

impl Accounts {
    pub async fn list(&self, organization: OrganizationId, page: PageRequest) -> Result<Page<User>, AccountError> {
        Ok(self.store.list(organization, page).await?)
    }

    /// Gives a member of the caller's organisation another role.
    pub async fn set_role(&self, caller: &SessionOwner, member: UserId, role: Role) -> Result<User, AccountError> {
        self.get(caller.organization, member).await?;
        let (this, organization, by) = (self.clone(), caller.organization, caller.user);
        let act = act_of(caller);
        let changing = async move {
            let changed = this
                .store
                .set_role(organization, by, member, role, &act, this.clock.now())
                .await?;
            done(changed)?;
            this.sessions.forget_user(organization, member).await;
            this.forget(organization, member).await;
            Ok::<_, AccountError>(())
        };
        self.caches.run_detached(changing).await?;
        tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, member_id = %member, role = role.as_str(), "role changed");
        self.get(caller.organization, member).await
    }

    /// Removes a member of the caller's organisation: sessions end and keys are revoked, at once here and within a second
    /// in other processes. The conversations go to `heir`, where an owner says so, and never to whoever says it.
    pub async fn remove(
        &self,
        caller: &SessionOwner,
        member: UserId,
        heir: Option<UserId>,
    ) -> Result<(), AccountError> {
        self.get(caller.organization, member).await?;
        if member == caller.user {
            return Err(AccountError::Yourself);
        }
        if heir == Some(member) || heir == Some(caller.user) {
            return Err(AccountError::NoHeir);
        }
        let (this, organization, by) = (self.clone(), caller.organization, caller.user);
        let act = act_of(caller);
        let removing = async move {
            let removed = this
                .store
                .remove(organization, by, member, heir, &act, this.clock.now())
                .await?;
            let Removed { sessions, keys } = done(removed)?;
            tracing::info!(target: "mapleai::security", organization_id = %organization, user_id = %by, member_id = %member, sessions = sessions.len(), keys = keys.len(), conversations_to = heir.map(tracing::field::display), "member removed");
            this.note_removed(organization, member, &sessions, &keys).await;
            if let Some(heir) = heir {
                this.forget_conversations(organization, heir).await;
            }
            Ok::<_, AccountError>(())
        };
        self.caches.run_detached(removing).await
    }
}

/// What came of something that one member did to another.
pub(super) fn done<T>(change: RoleChange<T>) -> Result<T, AccountError> {
    match change {
        RoleChange::Done(done) => Ok(done),
        RoleChange::NotAllowed => Err(AccountError::NotAllowed),
        RoleChange::LastOwner => Err(AccountError::LastOwner),
        RoleChange::NoHeir => Err(AccountError::NoHeir),
    }
}
