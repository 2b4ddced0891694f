//! What people change about themselves.

use std::net::IpAddr;

use secrecy::SecretString;

use super::{AccountError, Accounts, LONGEST_NAME};
use crate::{
    domain::{
        account::{SessionOwner, User},
        text,
    },
    service::field::Faults,
    store::accounts::NewPassword,
};

/// What a user may change about the own account. Absent fields stay.
#[derive(Default)]
pub struct ProfileChange {
    pub name: Option<String>,
    pub password: Option<SecretString>,
    /// Needed to change the password.
    pub current_password: Option<SecretString>,
}

impl Accounts {
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
}
