//! Passwords: which are taken, whose they are, and how fast they may be guessed at.

use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};

use super::{AccountError, Accounts};
use crate::{
    domain::{
        account::{SessionOwner, User},
        email::Email,
        password,
    },
    service::{activity, field::Faults, sessions::Proven},
};

impl Accounts {
    pub(super) fn check_password(
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

    /// Checks an address and a password. Every failure looks alike and takes as long.
    pub async fn sign_in(&self, email: &str, password: SecretString, from: IpAddr) -> Result<Proven, AccountError> {
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
        let Some(proven) = checked? else {
            tracing::warn!(target: "mapleai::security", address = %from, "sign-in failed");
            activity::signed_in("refused");
            return Err(AccountError::InvalidCredentials);
        };
        let user = &proven.user;
        tracing::info!(target: "mapleai::security", organization_id = %user.organization.id, user_id = %user.id, address = %from, "signed in");
        activity::signed_in("accepted");
        Ok(proven)
    }

    async fn check_credentials(&self, email: &Email, password: SecretString) -> Result<Option<Proven>, AccountError> {
        let found = self.store.find_by_email(email).await?;
        let hash = found.as_ref().map(|(_, hash)| hash.clone());
        let matches = self.hasher.verify(password, hash).await?;
        Ok(found
            .filter(|_| matches)
            .map(|(user, password_hash)| Proven { user, password_hash }))
    }

    /// Whether it is really the caller, by the password, which may be guessed at no faster than by signing in. Gives the hash
    /// that it matched.
    pub(super) async fn confirm(
        &self,
        caller: &SessionOwner,
        user: &User,
        password: SecretString,
        from: IpAddr,
    ) -> Result<String, AccountError> {
        let attempt = self.throttle.attempt(&user.email.to_lowercase(), from)?;
        let checked = async {
            let stored = self.store.password_hash(caller.organization, caller.user).await?;
            let matches = self.hasher.verify(password, stored.clone()).await?;
            Ok::<_, AccountError>(stored.filter(|_| matches))
        };
        let checked = checked.await;
        if !matches!(checked, Ok(None)) {
            attempt.forgive();
        }
        checked?.ok_or(AccountError::WrongPassword)
    }
}
