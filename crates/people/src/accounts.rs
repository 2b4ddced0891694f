//! Registering, signing in, and what people may change about themselves and each other.

mod credentials;
mod leaving;
mod members;
mod profile;
mod registration;

use std::{sync::Arc, time::Duration};

use crate::{
    api_keys::ApiKeys,
    sessions::{SessionError, Sessions},
};
use crypto::{
    password::{PasswordError, PasswordHasher},
    pseudonym::Pseudonyms,
};
use domain::field::FieldFault;
use domain::{
    account::{SessionOwner, User},
    clock::Clock,
    ids::{OrganizationId, UserId},
};
use gateway::{
    caches::{self, Caches},
    throttle::{Throttle, Throttled},
};
use store::{self, StoreError};

pub use profile::{ProfileChange, ProfileChanged};
pub use registration::Registration;
pub(super) use registration::email_taken;

/// Longest name of a person or organisation, in characters.
pub const MAX_NAME_LENGTH: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("some fields were refused")]
    Invalid(Vec<FieldFault>),
    #[error("an account with this e-mail address exists")]
    EmailTaken,
    #[error("registration is closed; ask for an invitation")]
    RegistrationClosed,
    #[error("e-mail address or password is wrong")]
    InvalidCredentials,
    #[error(transparent)]
    Throttled(#[from] Throttled),
    #[error("the current password is wrong")]
    WrongPassword,
    #[error("your role does not allow this")]
    NotAllowed,
    #[error("the organisation would be left without an owner")]
    LastOwner,
    #[error("nobody removes the own account")]
    Yourself,
    #[error("conversations can be handed over to somebody else of the organisation who stays")]
    NoHeir,
    #[error("there is no such user")]
    NotFound,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SharedStore(#[from] Arc<StoreError>),
}

#[derive(Clone)]
pub struct Accounts {
    store: store::accounts::Accounts,
    sessions: Sessions,
    api_keys: ApiKeys,
    caches: Caches,
    hasher: PasswordHasher,
    throttle: Throttle,
    pseudonyms: Pseudonyms,
    clock: Clock,
    open_registration: bool,
    password_min_length: usize,
    /// How long the deletion of an organisation can be taken back.
    organization_grace: Duration,
}

impl Accounts {
    #[expect(clippy::too_many_arguments, reason = "called once, by the composition root")]
    pub fn new(
        store: store::accounts::Accounts,
        sessions: Sessions,
        api_keys: ApiKeys,
        caches: Caches,
        hasher: PasswordHasher,
        throttle: Throttle,
        pseudonyms: Pseudonyms,
        clock: Clock,
        open_registration: bool,
        password_min_length: usize,
        organization_grace: Duration,
    ) -> Self {
        Self {
            store,
            sessions,
            api_keys,
            caches,
            hasher,
            throttle,
            pseudonyms,
            clock,
            open_registration,
            password_min_length,
            organization_grace,
        }
    }

    /// In characters.
    pub fn password_min_length(&self) -> usize {
        self.password_min_length
    }

    pub(super) fn hasher(&self) -> &PasswordHasher {
        &self.hasher
    }

    pub async fn get(&self, organization: OrganizationId, user: UserId) -> Result<User, AccountError> {
        let store = self.store.clone();
        let find = || async move { store.get(organization, user).await };
        let found = self
            .caches
            .profiles
            .get_or_load(caches::profile_key(organization, user), find);
        found.await?.ok_or(AccountError::NotFound)
    }

    /// The caller with the role that the database has now. Sessions are remembered for some seconds: good enough for looking
    /// around, not for what a role allows to do.
    pub async fn current(&self, caller: &SessionOwner) -> Result<SessionOwner, AccountError> {
        let role = self.store.role(caller.organization, caller.user).await?;
        let role = role.ok_or(SessionError::Invalid)?;
        Ok(SessionOwner { role, ..*caller })
    }

    async fn forget(&self, organization: OrganizationId, user: UserId) {
        self.caches
            .profiles
            .invalidate(&[caches::profile_key(organization, user)])
            .await;
    }
}
