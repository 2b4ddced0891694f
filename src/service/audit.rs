//! The audit log: who reads it, and the circumstances in which changes are made. What is written of a change is the store's to write,
//! in the change's transaction.

pub mod behind;

use super::accounts::{AccountError, Accounts};
use crate::{
    domain::{
        account::SessionOwner,
        audit::{Act, Actor, AuditFilter, RecordedEvent},
        page::{Page, PageRequest},
    },
    store::{self, StoreError},
    telemetry::context,
};

pub use behind::Behind;

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
    accounts: Accounts,
    behind: Behind,
}

impl Audit {
    pub fn new(store: store::audit::Audit, accounts: Accounts, behind: Behind) -> Self {
        Self {
            store,
            accounts,
            behind,
        }
    }

    /// Events of the caller's organisation, newest first. For owners and admins, by the role of this moment.
    pub async fn list(
        &self,
        caller: &SessionOwner,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<RecordedEvent>, AuditError> {
        let caller = self.accounts.current(caller).await?;
        if !caller.role.may_manage_members() {
            return Err(AccountError::NotAllowed.into());
        }
        Ok(self.store.list(caller.organization, filter, page).await?)
    }

    /// Writes what is due of the events that no change goes with; all there are, if this is the last time.
    pub async fn write_behind(&self, is_last: bool) -> Result<(), StoreError> {
        let mut due = self.behind.due(self.accounts.now(), is_last).into_iter();
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

/// What is known of whoever asks for a change, with the request that is being served, if one is.
pub(super) fn act(actor: Actor) -> Act {
    let request = context::current();
    Act {
        actor,
        address: request.as_ref().map(|request| request.client),
        request_id: request.map(|request| std::sync::Arc::clone(&request.request_id)),
    }
}

/// The same for a signed-in person.
pub(super) fn act_of(caller: &SessionOwner) -> Act {
    act(Actor::User(caller.user))
}
