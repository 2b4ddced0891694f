//! What people change about themselves, and their role as it is now.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::Accounts;
use crate::{
    StoreError,
    api_keys::{RevokedKey, revoke_keys},
    audit,
    sessions::{NewSession, end_sessions, insert_session},
    timed_query,
};
use domain::{
    audit::{Act, Action, Target},
    ids::{OrganizationId, SessionId, UserId},
    role::Role,
};

/// A password to set.
pub struct NewPassword<'a> {
    pub hash: &'a str,
    /// The hash of the password that was given with it. If it is not the user's any more, nothing is changed.
    pub verified: &'a str,
    /// The session that it was given in, and what takes its place: the cookie of a browser is given up with the password, since
    /// whoever copied it would stay signed in. Where nothing does, the session goes on.
    pub given_in: SessionId,
    pub renewed: Option<&'a NewSession<'a>>,
    pub revoke_keys: bool,
}

/// What ended with a change.
#[derive(Default)]
pub struct Changed {
    pub sessions: Vec<SessionId>,
    pub keys: Vec<RevokedKey>,
}

impl Accounts {
    /// Changes what is given and leaves the rest. A new password ends the user's other sessions, all or nothing. Nothing is
    /// changed, and nothing given, if the user was removed or has another password than was verified.
    pub async fn update(
        &self,
        organization: OrganizationId,
        user: UserId,
        name: Option<&str>,
        password: Option<NewPassword<'_>>,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<Option<Changed>, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let done = sqlx::query!(
                    "UPDATE users SET name = COALESCE($3, name), password_hash = COALESCE($4, password_hash), updated_at = $6
                     WHERE organization_id = $1 AND id = $2 AND removed_at IS NULL AND ($5::text IS NULL OR password_hash = $5)",
                    organization.0,
                    user.0,
                    name,
                    password.as_ref().map(|password| password.hash),
                    password.as_ref().map(|password| password.verified),
                    now
                )
                .execute(&mut *transaction)
                .await?;
                if done.rows_affected() == 0 {
                    return Ok(None);
                }
                let (mut sessions, mut keys) = (Vec::new(), Vec::new());
                if let Some(password) = password {
                    let kept = password.renewed.is_none().then_some(password.given_in);
                    sessions = end_sessions(&mut transaction, organization, user, kept, now).await?;
                    if let Some(new) = password.renewed {
                        insert_session(&mut transaction, organization, user, password.hash, new, now).await?;
                        sqlx::query!(
                            "UPDATE sessions SET device = (SELECT device FROM sessions WHERE organization_id = $1 AND id = $2)
                             WHERE organization_id = $1 AND id = $3",
                            organization.0,
                            password.given_in.0,
                            new.id.0
                        )
                        .execute(&mut *transaction)
                        .await?;
                    }
                    if password.revoke_keys {
                        keys = revoke_keys(&mut transaction, organization, user, now).await?;
                    }
                    let event = act
                        .event(organization, Action::PasswordChanged, Target::Member(user), now)
                        .after("sessions_ended", sessions.len())
                        .after("keys_revoked", keys.len());
                    audit::record(&mut transaction, &event).await?;
                }
                transaction.commit().await?;
                Ok(Some((sessions, keys)))
            })
            .await;
        let Some((sessions, keys)) = connection.settle(outcome)? else {
            return Ok(None);
        };
        let keys = keys.into_iter().map(RevokedKey::new);
        Ok(Some(Changed {
            sessions,
            keys: keys.collect::<Result<_, _>>()?,
        }))
    }

    /// A user's role as it is now, whatever sessions remember; nothing for somebody who is no member.
    pub async fn role(&self, organization: OrganizationId, user: UserId) -> Result<Option<Role>, StoreError> {
        let role = timed_query!(
            self.0,
            sqlx::query_scalar!(
                "SELECT role FROM users WHERE organization_id = $1 AND id = $2 AND removed_at IS NULL",
                organization.0,
                user.0
            ),
            fetch_optional
        )?;
        role.map(|role| role.parse().map_err(StoreError::corrupt)).transpose()
    }
}
