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
    service::{activity, field::Faults},
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

    /// Whether it is really the caller, by the password, which may be guessed at no faster than by signing in.
    pub(super) async fn confirm(
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
}
