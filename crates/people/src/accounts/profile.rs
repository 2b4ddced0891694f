//! What people change about themselves.

use std::net::IpAddr;

use secrecy::SecretString;

use super::{AccountError, Accounts, MAX_NAME_LENGTH};
use crate::sessions::PageSession;
use crypto::secret;
use domain::field::Faults;
use domain::{
    account::{SessionOwner, User},
    ids::SessionId,
    network::Network,
    password, text,
};
use gateway::audit::act_of;
use store::{accounts::profile::NewPassword, sessions::NewSession};

/// What a user may change about the own account. Absent fields stay.
#[derive(Default)]
pub struct ProfileChange {
    pub name: Option<String>,
    pub password: Option<SecretString>,
    /// Needed to change the password.
    pub current_password: Option<SecretString>,
    /// With the password, all API keys of the user are revoked.
    pub revoke_keys: bool,
    /// Whether a browser asks, which gets another cookie with another password.
    pub by_cookie: bool,
}

/// The account as it is now, and the browser's new session if it got one.
pub struct ProfileChanged {
    pub user: User,
    pub session: Option<PageSession>,
}

/// A new password, with what it takes to set it.
struct Replacement {
    hash: String,
    verified: String,
    session: Option<PageSession>,
    revoke_keys: bool,
}

impl Accounts {
    /// Changes the caller's own account. A new password ends the caller's other sessions.
    pub async fn change_profile(
        &self,
        caller: &SessionOwner,
        change: ProfileChange,
        from: IpAddr,
    ) -> Result<ProfileChanged, AccountError> {
        let user = self.get(caller.organization, caller.user).await?;
        let mut faults = Faults::default();
        let name = change
            .name
            .and_then(|name| faults.check("name", text::line(&name, MAX_NAME_LENGTH)));
        if let Some(password) = &change.password {
            let account = password::Account {
                email: &user.email,
                name: &user.name,
                organization: &user.organization.name,
            };
            self.check_password(&mut faults, "password", password, account);
            if change.current_password.is_none() {
                faults.add("current_password", "is needed to change the password");
            }
        }
        if change.revoke_keys && change.password.is_none() {
            faults.add("revoke_keys", "goes with a new password only");
        }
        if !faults.is_empty() {
            return Err(AccountError::Invalid(faults.into_vec()));
        }
        let mut replacement = None;
        if let (Some(password), Some(current)) = (change.password, change.current_password) {
            replacement = Some(Replacement {
                verified: self.confirm(caller, &user, current, from).await?,
                hash: self.hasher.hash(password, Network::widest(from)).await?,
                session: change.by_cookie.then(|| self.sessions.page_session()).transpose()?,
                revoke_keys: change.revoke_keys,
            });
        }
        let (this, caller) = (self.clone(), *caller);
        let changing = async move { this.carry_out_change(&caller, name, replacement).await };
        let session = self.caches.run_detached(changing).await?;
        Ok(ProfileChanged {
            user: self.get(caller.organization, caller.user).await?,
            session,
        })
    }

    async fn carry_out_change(
        &self,
        caller: &SessionOwner,
        name: Option<String>,
        replacement: Option<Replacement>,
    ) -> Result<Option<PageSession>, AccountError> {
        let now = self.clock.now();
        let digest = replacement
            .as_ref()
            .and_then(|new| new.session.as_ref())
            .map(|session| secret::sha256(session.cookie.as_bytes()));
        let renewed = digest.as_ref().map(|cookie| NewSession {
            id: SessionId::generate(),
            refresh: None,
            cookie: Some(cookie),
            // Taken over from the session that it replaces.
            device: None,
            expires_at: self.sessions.expiry(now),
        });
        let password = replacement.as_ref().map(|new| NewPassword {
            hash: &new.hash,
            verified: &new.verified,
            given_in: caller.session,
            renewed: renewed.as_ref(),
            revoke_keys: new.revoke_keys,
        });
        let changed = self
            .store
            .update(
                caller.organization,
                caller.user,
                name.as_deref(),
                password,
                &act_of(caller),
                now,
            )
            .await?
            // Somebody else has set another one while this one was checked; or the person was removed.
            .ok_or(AccountError::WrongPassword)?;
        if replacement.is_some() {
            tracing::info!(target: "mapleai::security", organization_id = %caller.organization, user_id = %caller.user, sessions = changed.sessions.len(), keys = changed.keys.len(), "password changed");
        }
        tokio::join!(
            self.sessions.note_ended(caller.organization, &changed.sessions),
            self.api_keys.note_revoked(&changed.keys),
            self.forget(caller.organization, caller.user)
        );
        Ok(replacement.and_then(|new| new.session))
    }
}
