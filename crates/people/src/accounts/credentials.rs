//! Passwords: which are taken, whose they are, and how fast they may be guessed at.

use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};

use super::{AccountError, Accounts};
use crate::sessions::Proven;
use crypto::password::{PasswordError, Verdict};
use domain::field::Faults;
use domain::{
    account::{SessionOwner, User},
    audit::{Action, Actor, Target},
    email::Email,
    ids::UserId,
    network::Network,
    password,
};
use gateway::audit::{act, act_of};
use gateway::throttle::{Attempt, Origin};
use telemetry::feature;

impl Accounts {
    pub(super) fn check_password(
        &self,
        faults: &mut Faults,
        field: &'static str,
        password: &SecretString,
        account: password::Account<'_>,
    ) -> Option<()> {
        faults.check(
            field,
            password::check(password.expose_secret(), self.password_min_length, account),
        )
    }

    /// Checks an address and a password. Every failure looks alike and takes as long. `device` is the proof of an earlier
    /// sign-in that a browser carries.
    pub async fn sign_in(
        &self,
        email: &str,
        password: SecretString,
        from: IpAddr,
        device: Option<&str>,
    ) -> Result<Proven, AccountError> {
        let email = Email::parse(email).map_err(|_| AccountError::InvalidCredentials)?;
        // The log knows an address by this name only: it may be anybody's, and a mistyped one may hold a password.
        let folded = email.folded();
        let name = self.pseudonyms.of(&folded);
        let origin = Origin {
            address: from,
            device: device.and_then(|token| self.sessions.device_of(&folded, token)),
        };
        let throttled = || {
            tracing::warn!(target: "mapleai::security", address = %from, email_hash = name, "sign-in throttled");
            feature::signed_in("throttled");
        };
        let attempt = self
            .throttle
            .attempt(&folded, origin)
            .await
            .inspect_err(|_| throttled())?;
        let proven_user = attempt
            .device()
            .map(|device| UserId(uuid::Uuid::from_bytes(device.user)));
        let found = self.store.find_by_email(&email).await;
        let (own, others) = match found {
            // A device vouches for who has signed in on it and for nobody else that shares the address.
            Ok(found) => found
                .into_iter()
                .partition::<Vec<_>, _>(|(user, _)| proven_user.is_none_or(|proven_user| user.id == proven_user)),
            Err(error) => {
                attempt.refund().await;
                return Err(error.into());
            }
        };
        let mut checked = self.counted_check(attempt, own, &password, from).await;
        if matches!(checked, Ok(Err(_))) && !others.is_empty() {
            let attempt = self
                .throttle
                .attempt(&folded, from.into())
                .await
                .inspect_err(|_| throttled())?;
            checked = self.counted_check(attempt, others, &password, from).await;
        }
        let proven = checked?.map_err(|account| {
            let user = account.as_ref().map(|user| tracing::field::display(user.id));
            let organization = account.as_ref().map(|user| tracing::field::display(user.organization.id));
            tracing::warn!(target: "mapleai::security", address = %from, email_hash = name, organization_id = organization, user_id = user, "sign-in failed");
            if let Some(user) = &account {
                self.tell_failed(user);
            }
            feature::signed_in("refused");
            AccountError::InvalidCredentials
        })?;
        let user = &proven.user;
        tracing::info!(target: "mapleai::security", organization_id = %user.organization.id, user_id = %user.id, address = %from, "signed in");
        feature::signed_in("accepted");
        Ok(proven)
    }

    /// Somebody has guessed at a person's password, or mistyped it: who it was nobody knows.
    fn tell_failed(&self, user: &User) {
        let (target, organization) = (Target::Member(user.id), user.organization.id);
        let (action, now) = (Action::SessionSignInFailed, self.clock.now());
        let event = act(Actor::Unknown).event_about(user.id, organization, action, target, now);
        self.caches.behind.note(event);
    }

    /// What the browser of somebody who has just signed in keeps, so that others' guesses do not keep them waiting.
    pub fn device_token(&self, user: &User) -> Option<String> {
        let email = Email::parse(&user.email).ok()?;
        // Without entropy there is no session either, which says so.
        self.sessions.device_token(&email.folded(), user.id).ok()
    }

    /// The check of one attempt, which counts only if the guess was wrong: not if the database was away, or too many were being
    /// checked.
    async fn counted_check(
        &self,
        attempt: Attempt,
        found: Vec<(User, String)>,
        password: &SecretString,
        from: IpAddr,
    ) -> Result<Result<Proven, Option<User>>, AccountError> {
        let checked = self.check_credentials(found, password, from).await;
        if !matches!(checked, Ok(Err(_))) {
            attempt.refund().await;
        }
        checked
    }

    /// Whose password this is, or whose the address is, if anybody's.
    async fn check_credentials(
        &self,
        found: Vec<(User, String)>,
        password: &SecretString,
        from: IpAddr,
    ) -> Result<Result<Proven, Option<User>>, AccountError> {
        let from = Network::widest(from);
        if found.is_empty() {
            self.hasher.verify(password.clone(), None, from).await?;
            return Ok(Err(None));
        }
        let mut holder = None;
        for (user, hash) in found {
            let password_hash = match self.hasher.check(password.clone(), Some(hash.clone()), from).await? {
                Verdict::Right => hash,
                Verdict::Outdated => self.rehash(&user, password.clone(), hash, from).await?,
                Verdict::Wrong => {
                    holder.get_or_insert(user);
                    continue;
                }
            };
            return Ok(Ok(Proven { user, password_hash }));
        }
        Ok(Err(holder))
    }

    /// Hashes a password anew that was hashed at less cost than is asked for by now, or before it was normalised. Somebody who
    /// signs in at the same moment may be told that the password is wrong, and has to try once more. Gives the hash that is
    /// stored.
    async fn rehash(
        &self,
        user: &User,
        password: SecretString,
        old: String,
        from: Network,
    ) -> Result<String, AccountError> {
        let new = match self.hasher.hash(password, from).await {
            Ok(new) => new,
            // The old one is good enough to go on with.
            Err(PasswordError::Busy) => return Ok(old),
            Err(error) => return Err(error.into()),
        };
        let is_stored = self.store.rehash(user.organization.id, user.id, &old, &new).await?;
        Ok(if is_stored { new } else { old })
    }

    /// Confirms the caller by the password, for the while that `auth.confirmation_ttl` says.
    pub async fn confirm_session(
        &self,
        caller: &SessionOwner,
        password: SecretString,
        from: IpAddr,
    ) -> Result<(), AccountError> {
        let user = self.get(caller.organization, caller.user).await?;
        let verified = self.confirm(caller, &user, password, from).await?;
        let (this, caller) = (self.clone(), *caller);
        let noting = async move { this.sessions.note_confirmed(&caller, &verified).await };
        if !self.caches.run_detached(noting).await? {
            return Err(AccountError::WrongPassword);
        }
        tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, session_id = %caller.session, address = %from, "password confirmed");
        Ok(())
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
        // By the name that sign-ins are counted by, or the two would have twice as many guesses.
        let folded = Email::parse(&user.email).map_or_else(|_| user.email.to_lowercase(), |email| email.folded());
        let attempt = self.throttle.attempt(&folded, from.into()).await?;
        let checked = async {
            let stored = self.store.password_hash(caller.organization, caller.user).await?;
            let from = Network::widest(from);
            let matches = self.hasher.verify(password, stored.clone(), from).await?;
            Ok::<_, AccountError>(stored.filter(|_| matches))
        };
        let checked = checked.await;
        if !matches!(checked, Ok(None)) {
            attempt.refund().await;
        }
        let verified = checked?;
        if verified.is_none() {
            tracing::warn!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, session_id = %caller.session, address = %from, "password not confirmed");
            let target = Target::Session(caller.session);
            let event = act_of(caller).event(
                caller.organization,
                Action::PasswordNotConfirmed,
                target,
                self.clock.now(),
            );
            self.caches.behind.note(event);
        }
        verified.ok_or(AccountError::WrongPassword)
    }
}
