//! Registering: a new organisation with its owner, and what makes up a person.

use std::net::{IpAddr, Ipv4Addr};

use secrecy::SecretString;

use super::{AccountError, Accounts, MAX_NAME_LENGTH};
use crate::sessions::Proven;
use domain::field::Faults;
use domain::{
    account::{Organization, User},
    audit::Actor,
    email::Email,
    ids::{OrganizationId, UserId},
    network::Network,
    password,
    role::Role,
    text,
};
use gateway::audit::act;
use store::{
    StoreError,
    accounts::{EMAIL_TAKEN, NewUser},
};
use telemetry::feature;

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
        self.throttle.registration(from).await.inspect_err(|_| {
            tracing::warn!(target: "mapleai::security", address = %from, "registration throttled");
        })?;
        self.found(registration, None, Network::widest(from)).await
    }

    /// Registering without asking whether it is open, for an operator, who vouches for the address: also how the development
    /// account is made.
    pub async fn create_organization(&self, registration: Registration) -> Result<Proven, AccountError> {
        let here = Network::of(Ipv4Addr::LOCALHOST.into());
        self.found(registration, Some(Actor::Operator), here).await
    }

    /// `by` vouches for the address; nobody does where people register by themselves.
    async fn found(
        &self,
        registration: Registration,
        by: Option<Actor>,
        from: Network,
    ) -> Result<Proven, AccountError> {
        let mut faults = Faults::default();
        let person = self.read_person(
            &mut faults,
            &registration.email,
            &registration.name,
            &registration.organization,
            &registration.password,
        );
        let organization = faults.check("organization", text::line(&registration.organization, MAX_NAME_LENGTH));
        let (Some((email, name)), Some(organization)) = (person, organization) else {
            return Err(AccountError::Invalid(faults.into_vec()));
        };
        let is_taken = !self.store.find_by_email(&email).await?.is_empty();
        // Hashed in any case, so that it takes as long whether or not the address has an account; the constraint decides if two
        // come at once.
        let password_hash = self.hasher.hash_registration(registration.password, from).await?;
        if is_taken {
            return Err(AccountError::EmailTaken);
        }
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
            is_proven: by.is_some(),
        };
        self.store
            .register(&user.organization, &new, &act(by.unwrap_or(Actor::User(user.id))), now)
            .await
            .map_err(email_taken)?;
        tracing::info!(target: "mapleai::security", organization_id = %user.organization.id, user_id = %user.id, "organization registered");
        feature::signed_up("organization");
        Ok(Proven { user, password_hash })
    }

    /// Gives an account another password and ends all its sessions: for operators, where somebody has forgotten theirs.
    pub async fn reset_password(&self, email: &str, password: SecretString) -> Result<User, AccountError> {
        let email = Email::parse(email).map_err(|_| AccountError::NotFound)?;
        // Whoever holds the address, not whoever had to give it up.
        let found = self.store.find_by_email(&email).await?;
        let (user, _) = found.into_iter().next().ok_or(AccountError::NotFound)?;
        let mut faults = Faults::default();
        let folded = email.folded();
        let account = password::Account {
            email: &folded,
            name: &user.name,
            organization: &user.organization.name,
        };
        self.check_password(&mut faults, "password", &password, account);
        if !faults.is_empty() {
            return Err(AccountError::Invalid(faults.into_vec()));
        }
        let here = Network::of(Ipv4Addr::LOCALHOST.into());
        let hash = self.hasher.hash(password, here).await?;
        let organization = user.organization.id;
        let ended = self
            .store
            .reset_password(organization, user.id, &hash, &act(Actor::Operator), self.clock.now())
            .await?;
        self.sessions.note_ended(organization, &ended).await;
        tracing::warn!(target: "mapleai::security", organization_id = %organization, user_id = %user.id, "password reset by an operator");
        Ok(user)
    }

    /// Checks what makes up a person, noting every fault.
    pub(crate) fn read_person(
        &self,
        faults: &mut Faults,
        email: &str,
        name: &str,
        organization: &str,
        password: &SecretString,
    ) -> Option<(Email, String)> {
        let email = faults.check("email", Email::parse(email));
        let name = faults.check("name", text::line(name, MAX_NAME_LENGTH));
        let folded = email.as_ref().map(Email::folded).unwrap_or_default();
        let account = password::Account {
            email: &folded,
            name: name.as_deref().unwrap_or_default(),
            organization,
        };
        self.check_password(faults, "password", password, account)?;
        email.zip(name)
    }
}

/// The constraint speaks when two registrations race.
pub(crate) fn email_taken(error: StoreError) -> AccountError {
    if error.constraint() == Some(EMAIL_TAKEN) {
        AccountError::EmailTaken
    } else {
        error.into()
    }
}
