//! Registering: a new organisation with its owner, and what makes up a person.

use std::net::IpAddr;

use secrecy::SecretString;

use super::{AccountError, Accounts, LONGEST_NAME};
use crate::{
    domain::{
        account::{Organization, User},
        email::Email,
        ids::{OrganizationId, UserId},
        role::Role,
        text,
    },
    service::{activity, field::Faults, sessions::Proven},
    store::{
        StoreError,
        accounts::{EMAIL_TAKEN, NewUser},
    },
};

/// What registering takes.
pub struct Registration {
    pub email: String,
    pub password: SecretString,
    pub name: String,
    pub organization: String,
}

impl Accounts {
    pub fn registration_is_open(&self) -> bool {
        self.open_registration
    }

    /// Creates an organisation with its owner.
    pub async fn register(&self, registration: Registration, from: IpAddr) -> Result<Proven, AccountError> {
        if !self.open_registration {
            return Err(AccountError::RegistrationClosed);
        }
        self.throttle.registration(from).inspect_err(|_| {
            tracing::warn!(target: "mapleai::security", address = %from, "registration throttled");
        })?;
        self.create_organization(registration).await
    }

    /// Registering without asking whether it is open: also how the development account is made.
    pub async fn create_organization(&self, registration: Registration) -> Result<Proven, AccountError> {
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
        Ok(Proven { user, password_hash })
    }

    /// Gives an account another password and ends all its sessions: for operators, where somebody has forgotten theirs.
    pub async fn reset_password(&self, email: &str, password: SecretString) -> Result<User, AccountError> {
        let email = Email::parse(email).map_err(|_| AccountError::NotFound)?;
        let (user, _) = self.store.find_by_email(&email).await?.ok_or(AccountError::NotFound)?;
        let mut faults = Faults::default();
        self.check_password(&mut faults, "password", &password, &email.folded(), &user.name);
        if !faults.is_empty() {
            return Err(AccountError::Invalid(faults.into_vec()));
        }
        let hash = self.hasher.hash(password).await?;
        let organization = user.organization.id;
        let ended = self
            .store
            .reset_password(organization, user.id, &hash, self.clock.now())
            .await?;
        self.sessions.note_ended(organization, &ended).await;
        tracing::warn!(target: "mapleai::security", organization_id = %organization, user_id = %user.id, "password reset by an operator");
        Ok(user)
    }

    /// Checks what makes up a person, noting every fault.
    pub(in crate::service) fn read_person(
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
}

/// The constraint speaks when two registrations race.
pub(in crate::service) fn email_taken(error: StoreError) -> AccountError {
    if error.constraint() == Some(EMAIL_TAKEN) {
        AccountError::EmailTaken
    } else {
        error.into()
    }
}
