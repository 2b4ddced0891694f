//! The audit log: who reads it. What is written of a change is the store's to write, in the change's transaction.

use crate::{accounts::AccountError, sessions::SessionError};
use domain::{
    account::SessionOwner,
    audit::{ActorFilter, AuditFilter, RecordedEvent},
    clock::Clock,
    page::{Page, PageRequest},
};
use gateway::audit::Behind;
use store::{self, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone)]
pub struct Audit {
    store: store::audit::Audit,
    accounts: store::accounts::Accounts,
    behind: Behind,
    clock: Clock,
}

impl Audit {
    pub fn new(store: store::audit::Audit, accounts: store::accounts::Accounts, behind: Behind, clock: Clock) -> Self {
        Self {
            store,
            accounts,
            behind,
            clock,
        }
    }

    /// Events of the caller's organisation, newest first. For owners and admins, by the role of this moment.
    pub async fn list(
        &self,
        caller: &SessionOwner,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<RecordedEvent>, AuditError> {
        let role = self.accounts.role(caller.organization, caller.user).await?;
        let role = role.ok_or(AccountError::Session(SessionError::Invalid))?;
        if !role.may_manage_members() {
            return Err(AccountError::NotAllowed.into());
        }
        Ok(self.store.list(caller.organization, filter, page).await?)
    }

    /// What the caller did, newest first: everybody's own, to take along.
    pub async fn list_own(&self, caller: &SessionOwner, page: PageRequest) -> Result<Page<RecordedEvent>, AuditError> {
        let filter = AuditFilter {
            actor: Some(ActorFilter::from(caller.user)),
            ..AuditFilter::default()
        };
        Ok(self.store.list(caller.organization, &filter, page).await?)
    }

    /// Writes what is due of the events that no change goes with; all there are, if this is the last time.
    pub async fn write_behind(&self, is_last: bool) -> Result<(), StoreError> {
        let mut due = self.behind.due(self.clock.now(), is_last).into_iter();
        while let Some(event) = due.next() {
            if let Err(error) = self.store.note(&event).await {
                std::iter::once(event)
                    .chain(due)
                    .for_each(|event| self.behind.put_back(event));
                return Err(error);
            }
        }
        Ok(())
    }
}
