//! Registering, signing in, and what people may change about themselves and each other.

use std::{net::IpAddr, sync::Arc};

use secrecy::{ExposeSecret, SecretString};

use super::{
    activity,
    api_keys::ApiKeys,
    caches::{self, Caches},
    field::{Faults, FieldFault},
    sessions::{SessionError, Sessions},
    throttle::{Throttle, Throttled},
};
use crate::{
    crypto::password::{PasswordError, PasswordHasher},
    domain::{
        account::{Organization, SessionOwner, User},
        clock::Clock,
        email::Email,
        ids::{OrganizationId, UserId},
        page::{Page, PageRequest},
        password,
        role::Role,
        text,
    },
    store::{
        self, StoreError,
        accounts::{
            EMAIL_TAKEN, NewPassword, NewUser,
            members::{Managed, Removed},
        },
    },
};

/// Longest name of a person or organisation, in characters.
pub const LONGEST_NAME: usize = 100;

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

/// What registering takes.
pub struct Registration {
    pub email: String,
    pub password: SecretString,
    pub name: String,
    pub organization: String,
}

/// What a user may change about the own account. Absent fields stay.
#[derive(Default)]
pub struct ProfileChange {
    pub name: Option<String>,
    pub password: Option<SecretString>,
    /// Needed to change the password.
    pub current_password: Option<SecretString>,
}

#[derive(Clone)]
pub struct Accounts {
    store: store::accounts::Accounts,
    sessions: Sessions,
    api_keys: ApiKeys,
    caches: Caches,
    hasher: PasswordHasher,
    throttle: Throttle,
    clock: Clock,
    open_registration: bool,
    password_min_length: usize,
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
        clock: Clock,
        open_registration: bool,
        password_min_length: usize,
    ) -> Self {
        Self {
            store,
            sessions,
            api_keys,
            caches,
            hasher,
            throttle,
            clock,
            open_registration,
            password_min_length,
        }
    }

    pub fn registration_is_open(&self) -> bool {
        self.open_registration
    }

    /// Creates an organisation with its owner.
    pub async fn register(&self, registration: Registration, from: IpAddr) -> Result<User, AccountError> {
        if !self.open_registration {
            return Err(AccountError::RegistrationClosed);
        }
        self.throttle.registration(from).inspect_err(|_| {
            tracing::warn!(target: "mapleai::security", address = %from, "registration throttled");
        })?;
        self.create_organization(registration).await
    }

    /// Registering without asking whether it is open: also how the development account is made.
    pub async fn create_organization(&self, registration: Registration) -> Result<User, AccountError> {
        let mut faults = Faults::default();
        let person = self.read_person(
            &mut faults,
            &registration.email,
            &registration.name,
            &registration.password,
        );
        let organization = faults.check("organization", text::line(&registration.organization, LONGEST_NAME));
        let (Some((email, name)), Some(organization)) = (person, organization) else {
            return Err(AccountError::Invalid(faults.into_vec()));
        };
        // A taken address is found before the hash is paid for; the constraint decides if two come at once.
        if self.store.find_by_email(&email).await?.is_some() {
            return Err(AccountError::EmailTaken);
        }
        let password_hash = self.hasher.hash_for_newcomer(registration.password).await?;
        let now = self.clock.now();
        let user = User {
            id: UserId::generate(),
            organization: Organization {
                id: OrganizationId::generate(),
                name: organization,
            },
            email: email.as_str().to_owned(),
            name,
            role: Role::Owner,
            created_at: now,
        };
        let new = NewUser {
            id: user.id,
            email: &email,
            name: &user.name,
            role: user.role,
            password_hash: &password_hash,
        };
        self.store
            .register(&user.organization, &new, now)
            .await
            .map_err(email_taken)?;
        tracing::info!(target: "mapleai::security", organization_id = %user.organization.id, user_id = %user.id, "organization registered");
        activity::signed_up("organization");
        Ok(user)
    }

    /// Checks what makes up a person, noting every fault.
    pub(super) fn read_person(
        &self,
        faults: &mut Faults,
        email: &str,
        name: &str,
        password: &SecretString,
    ) -> Option<(Email, String)> {
        let email = faults.check("email", Email::parse(email));
        let name = faults.check("name", text::line(name, LONGEST_NAME));
        let folded = email.as_ref().map(Email::folded).unwrap_or_default();
        self.check_password(
            faults,
            "password",
            password,
            &folded,
            name.as_deref().unwrap_or_default(),
        )?;
        email.zip(name)
    }

    fn check_password(
        &self,
        faults: &mut Faults,
        field: &'static str,
        password: &SecretString,
        email: &str,
        name: &str,
    ) -> Option<()> {
        faults.check(
            field,
            password::check(password.expose_secret(), self.password_min_length, email, name),
        )
    }

    pub(super) fn hasher(&self) -> &PasswordHasher {
        &self.hasher
    }

    /// Checks an address and a password. Every failure looks alike and takes as long.
    pub async fn sign_in(&self, email: &str, password: SecretString, from: IpAddr) -> Result<User, AccountError> {
        let email = Email::parse(email).map_err(|_| AccountError::InvalidCredentials)?;
        let attempt = self.throttle.attempt(&email.folded(), from).inspect_err(|_| {
            tracing::warn!(target: "mapleai::security", address = %from, "sign-in throttled");
            activity::signed_in("throttled");
        })?;
        let checked = self.check_credentials(&email, password).await;
        // Only a wrong guess counts: not that the database was away, nor that too many were being checked.
        if !matches!(checked, Ok(None)) {
            attempt.forgive();
        }
        let Some(user) = checked? else {
            tracing::warn!(target: "mapleai::security", address = %from, "sign-in failed");
            activity::signed_in("refused");
            return Err(AccountError::InvalidCredentials);
        };
        tracing::info!(target: "mapleai::security", organization_id = %user.organization.id, user_id = %user.id, "signed in");
        activity::signed_in("accepted");
        Ok(user)
    }

    async fn check_credentials(&self, email: &Email, password: SecretString) -> Result<Option<User>, AccountError> {
        let found = self.store.find_by_email(email).await?;
        let (user, hash) = found.map_or((None, None), |(user, hash)| (Some(user), Some(hash)));
        let matches = self.hasher.verify(password, hash).await?;
        Ok(user.filter(|_| matches))
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

    async fn forget(&self, organization: OrganizationId, user: UserId) {
        self.caches
            .profiles
            .invalidate(&[caches::profile_key(organization, user)])
            .await;
    }

    pub async fn list(&self, organization: OrganizationId, page: PageRequest) -> Result<Page<User>, AccountError> {
        Ok(self.store.list(organization, page).await?)
    }

    /// Changes the caller's own account. A new password ends the caller's other sessions.
    pub async fn change_profile(
        &self,
        caller: &SessionOwner,
        change: ProfileChange,
        from: IpAddr,
    ) -> Result<User, AccountError> {
        let user = self.get(caller.organization, caller.user).await?;
        let mut faults = Faults::default();
        let name = change
            .name
            .and_then(|name| faults.check("name", text::line(&name, LONGEST_NAME)));
        if let Some(password) = &change.password {
            self.check_password(
                &mut faults,
                "password",
                password,
                &user.email.to_lowercase(),
                &user.name,
            );
            if change.current_password.is_none() {
                faults.add("current_password", "is needed to change the password");
            }
        }
        if !faults.is_empty() {
            return Err(AccountError::Invalid(faults.into_vec()));
        }
        let mut password_hash = None;
        if let (Some(password), Some(current)) = (change.password, change.current_password) {
            self.confirm(caller, &user, current, from).await?;
            password_hash = Some(self.hasher.hash(password).await?);
        }
        let (this, caller, ended_by) = (self.clone(), *caller, password_hash.is_some());
        let changing = async move {
            let password = password_hash.as_deref().map(|hash| NewPassword {
                hash,
                given_in: caller.session,
            });
            let ended = this
                .store
                .update(
                    caller.organization,
                    caller.user,
                    name.as_deref(),
                    password,
                    this.clock.now(),
                )
                .await?;
            if ended_by {
                this.sessions.note_ended(caller.organization, &ended).await;
                tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, "password changed");
            }
            this.forget(caller.organization, caller.user).await;
            Ok::<_, AccountError>(())
        };
        self.caches.carry_out(changing).await?;
        self.get(caller.organization, caller.user).await
    }

    /// Whether it is really the caller, by the password, which may be guessed at no faster than by signing in.
    async fn confirm(
        &self,
        caller: &SessionOwner,
        user: &User,
        password: SecretString,
        from: IpAddr,
    ) -> Result<(), AccountError> {
        let attempt = self.throttle.attempt(&user.email.to_lowercase(), from)?;
        let checked = async {
            let stored = self.store.password_hash(caller.organization, caller.user).await?;
            Ok::<_, AccountError>(self.hasher.verify(password, stored).await?)
        };
        let checked = checked.await;
        if !matches!(checked, Ok(false)) {
            attempt.forgive();
        }
        if checked? {
            Ok(())
        } else {
            Err(AccountError::WrongPassword)
        }
    }

    /// Gives a member of the caller's organisation another role.
    pub async fn set_role(&self, caller: &SessionOwner, member: UserId, role: Role) -> Result<User, AccountError> {
        self.get(caller.organization, member).await?;
        let (this, organization, by) = (self.clone(), caller.organization, caller.user);
        let changing = async move {
            let changed = this
                .store
                .set_role(organization, by, member, role, this.clock.now())
                .await?;
            done(changed)?;
            this.sessions.forget_user(organization, member).await;
            this.forget(organization, member).await;
            Ok::<_, AccountError>(())
        };
        self.caches.carry_out(changing).await?;
        tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, member_id = %member, role = role.as_str(), "role changed");
        self.get(caller.organization, member).await
    }

    /// Removes a member of the caller's organisation: sessions end and keys are revoked, at once here and within a second
    /// in other processes.
    pub async fn remove(&self, caller: &SessionOwner, member: UserId) -> Result<(), AccountError> {
        self.get(caller.organization, member).await?;
        if member == caller.user {
            return Err(AccountError::Yourself);
        }
        let (this, organization, by) = (self.clone(), caller.organization, caller.user);
        let removing = async move {
            let removed = this.store.remove(organization, by, member, this.clock.now()).await?;
            let Removed { sessions, keys } = done(removed)?;
            tracing::info!(target: "mapleai::security", organization_id = %organization, user_id = %by, member_id = %member, sessions = sessions.len(), keys = keys.len(), "member removed");
            // Together: neither is to wait for the other's Redis.
            tokio::join!(
                this.sessions.note_ended(organization, &sessions),
                this.api_keys.note_revoked(&keys),
                this.forget(organization, member)
            );
            Ok::<_, AccountError>(())
        };
        self.caches.carry_out(removing).await
    }
}

/// What came of something that one member did to another.
fn done<T>(managed: Managed<T>) -> Result<T, AccountError> {
    match managed {
        Managed::Done(done) => Ok(done),
        Managed::NotAllowed => Err(AccountError::NotAllowed),
        Managed::LastOwner => Err(AccountError::LastOwner),
    }
}

/// The constraint speaks when two registrations race.
pub(super) fn email_taken(error: StoreError) -> AccountError {
    if error.constraint() == Some(EMAIL_TAKEN) {
        AccountError::EmailTaken
    } else {
        error.into()
    }
}
