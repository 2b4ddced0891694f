//! What an organisation has settled for all of its people.

use chrono::{DateTime, Utc};

use domain::{
    account::{Organization, OrganizationSettings, SessionOwner},
    clock::Clock,
};
use gateway::audit::act_of;
use gateway::caches::{self, Caches};
use store::{self, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum OrganizationError {
    #[error("your role does not allow this")]
    NotAllowed,
    #[error("there is no such organisation")]
    NotFound,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone)]
pub struct Organizations {
    store: store::organizations::Organizations,
    caches: Caches,
    clock: Clock,
}

impl Organizations {
    pub fn new(store: store::organizations::Organizations, caches: Caches, clock: Clock) -> Self {
        Self { store, caches, clock }
    }

    /// The caller's organisation, as it is now, and when it will be deleted, if it will.
    pub async fn get(
        &self,
        caller: &SessionOwner,
    ) -> Result<(Organization, OrganizationSettings, Option<DateTime<Utc>>), OrganizationError> {
        let found = self.store.get(caller.organization).await?;
        found.ok_or(OrganizationError::NotFound)
    }

    /// Whether people of the caller's organisation are given each other's answers. For administrators.
    pub async fn set_share_answers(&self, caller: &SessionOwner, share_answers: bool) -> Result<(), OrganizationError> {
        let (this, organization, by) = (self.clone(), caller.organization, caller.user);
        let act = act_of(caller);
        let changing = async move {
            let (store, now) = (&this.store, this.clock.now());
            let changed = store.set_share_answers(organization, by, share_answers, &act, now);
            if !changed.await? {
                return Err(OrganizationError::NotAllowed);
            }
            this.caches
                .organizations
                .invalidate(&[caches::organization_key(organization)])
                .await;
            tracing::info!(target: "mapleai::security", organization_id = %organization, user_id = %by, share_answers, "sharing of answers changed");
            Ok(())
        };
        self.caches.run_detached(changing).await
    }
}
