//! Inviting people into an organisation by a one-time link.

use std::{net::IpAddr, time::Duration};

use chrono::TimeDelta;
use secrecy::SecretString;

use crate::{
    accounts::{AccountError, Accounts, email_taken},
    sessions::Proven,
    unknown_credentials::UnknownCredentials,
};
use configuration::LimitsConfig;
use crypto::secret::{self, NoEntropy, SecretKind};
use domain::field::Faults;
use domain::{
    account::{Invitation, SessionOwner, User},
    audit::Actor,
    clock::Clock,
    email::Email,
    ids::{InvitationId, UserId},
    network::Network,
    page::{Page, PageRequest},
    role::Role,
};
use gateway::audit::{act, act_of};
use store::{
    self, StoreError,
    accounts::NewUser,
    invitations::{Acceptance, NewInvitation},
    limits::LimitReached,
};
use telemetry::feature::{self, Feature};

#[derive(Debug, thiserror::Error)]
pub enum InvitationError {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error("there is no such invitation, or it was used, withdrawn or has expired")]
    NotFound,
    #[error(transparent)]
    LimitReached(#[from] LimitReached),
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone)]
pub struct Invitations {
    store: store::invitations::Invitations,
    accounts: Accounts,
    unknown: UnknownCredentials,
    limits: LimitsConfig,
    clock: Clock,
    lasts: Duration,
}

impl Invitations {
    pub fn new(
        store: store::invitations::Invitations,
        accounts: Accounts,
        unknown: UnknownCredentials,
        limits: LimitsConfig,
        clock: Clock,
        lasts: Duration,
    ) -> Self {
        Self {
            store,
            accounts,
            unknown,
            limits,
            clock,
            lasts,
        }
    }

    /// Makes an invitation and its token, which is shown this once.
    pub async fn create(
        &self,
        caller: &SessionOwner,
        email: &str,
        role: Role,
    ) -> Result<(Invitation, String), InvitationError> {
        let caller = &self.accounts.current(caller).await?;
        if !caller.role.may_grant(role) {
            return Err(AccountError::NotAllowed.into());
        }
        let mut faults = Faults::default();
        let Some(email) = faults.check("email", Email::parse(email)) else {
            return Err(AccountError::Invalid(faults.into_vec()).into());
        };
        let organization = self.accounts.get(caller.organization, caller.user).await?.organization;
        let token = secret::generate(SecretKind::Invitation)?;
        let now = self.clock.now();
        let invitation = Invitation {
            id: InvitationId::generate(),
            organization,
            email: email.as_str().to_owned(),
            role,
            created_at: now,
            expires_at: now + TimeDelta::from_std(self.lasts).unwrap_or(TimeDelta::days(7)),
        };
        let new = NewInvitation {
            id: invitation.id,
            email: &email,
            role,
            token: &secret::sha256(token.as_bytes()),
            invited_by: caller.user,
            expires_at: invitation.expires_at,
        };
        let act = act_of(caller);
        let created = self.store.create(caller.organization, &new, &self.limits, &act, now);
        if !created.await?? {
            return Err(AccountError::NotAllowed.into());
        }
        tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, invitation_id = %invitation.id, role = role.as_str(), "invitation created");
        Feature::InvitationSent.note();
        Ok((invitation, token))
    }

    /// Those that can still be accepted, newest first.
    pub async fn list(&self, caller: &SessionOwner, page: PageRequest) -> Result<Page<Invitation>, InvitationError> {
        let caller = self.accounts.current(caller).await?;
        if !caller.role.may_manage_members() {
            return Err(AccountError::NotAllowed.into());
        }
        let now = self.clock.now();
        Ok(self.store.list_open(caller.organization, page, now).await?)
    }

    pub async fn withdraw(&self, caller: &SessionOwner, id: InvitationId) -> Result<(), InvitationError> {
        let caller = self.accounts.current(caller).await?;
        if !caller.role.may_manage_members() {
            return Err(AccountError::NotAllowed.into());
        }
        let (act, now) = (act_of(&caller), self.clock.now());
        if !self.store.delete(caller.organization, id, &act, now).await? {
            return Err(InvitationError::NotFound);
        }
        tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, invitation_id = %id, "invitation withdrawn");
        Ok(())
    }

    /// The invitation a link leads to, for somebody at an address.
    pub async fn find(&self, token: &str, from: IpAddr) -> Result<Invitation, InvitationError> {
        let digest = secret::digest_of(SecretKind::Invitation, token).ok_or(InvitationError::NotFound)?;
        let _look = self.unknown.admit_lookup(from).await?;
        let find = self.store.find_open(&digest, self.clock.now());
        self.unknown.look_up(from, find).await?.ok_or(InvitationError::NotFound)
    }

    /// The same for a member of the organisation, who has just made it.
    pub async fn find_own(&self, caller: &SessionOwner, token: &str) -> Result<Invitation, InvitationError> {
        let digest = secret::digest_of(SecretKind::Invitation, token).ok_or(InvitationError::NotFound)?;
        let found = self.store.find_open(&digest, self.clock.now()).await?;
        found
            .filter(|invitation| invitation.organization.id == caller.organization)
            .ok_or(InvitationError::NotFound)
    }

    /// Creates the invited person's account and uses the invitation up.
    pub async fn accept(
        &self,
        token: &str,
        name: &str,
        password: SecretString,
        from: IpAddr,
    ) -> Result<Proven, InvitationError> {
        let invitation = self.find(token, from).await?;
        let mut faults = Faults::default();
        let Some((email, name)) = self.accounts.read_person(
            &mut faults,
            &invitation.email,
            name,
            &invitation.organization.name,
            &password,
        ) else {
            return Err(AccountError::Invalid(faults.into_vec()).into());
        };
        let password_hash = self
            .accounts
            .hasher()
            .hash(password, Network::widest(from))
            .await
            .map_err(AccountError::from)?;
        let now = self.clock.now();
        let user = User {
            id: UserId::generate(),
            organization: invitation.organization,
            email: invitation.email,
            name,
            role: invitation.role,
            created_at: now,
        };
        let new = NewUser {
            id: user.id,
            email: &email,
            name: &user.name,
            role: user.role,
            password_hash: &password_hash,
            is_proven: true,
        };
        let accepted = self
            .store
            .accept(
                user.organization.id,
                invitation.id,
                &new,
                &act(Actor::User(user.id)),
                now,
            )
            .await
            .map_err(email_taken)?;
        let Acceptance::Joined { displaced } = accepted else {
            return Err(InvitationError::NotFound);
        };
        if let Some(displaced) = displaced {
            tracing::warn!(target: "mapleai::security", organization_id = %user.organization.id, user_id = %user.id, displaced_user_id = %displaced, "an unproven account gave up its address to an invitation");
        }
        tracing::info!(target: "mapleai::security", organization_id = %user.organization.id, user_id = %user.id, "invitation accepted");
        feature::signed_up("invitation");
        Ok(Proven { user, password_hash })
    }
}
