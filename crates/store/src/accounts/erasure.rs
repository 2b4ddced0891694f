//! What of a person is left when the membership ends: an id that records of usage speak of, and nothing that tells whose it was.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::{
    Accounts,
    deletion::take_back_deletion,
    members::{Removed, RoleChange},
};
use crate::{
    StoreError,
    api_keys::{RevokedKey, revoke_keys},
    audit, limits,
    sessions::end_sessions,
};
use domain::{
    audit::{Act, Action, Target},
    ids::{OrganizationId, SessionId, UserId},
    role::Role,
};

/// People whose accounts one transaction erases: with thousands it would exceed every limit of time, at each try.
const ERASED_AT_ONCE: i64 = 100;
/// What stands where a removed person's name stood.
const NAME: &str = "Removed person";
const KEY_NAME: &str = "Key of a removed person";

/// What ended with an account.
#[derive(Default)]
pub(super) struct Ended {
    sessions: Vec<SessionId>,
    /// Ids and digests.
    keys: Vec<(uuid::Uuid, Vec<u8>)>,
    invitations: u64,
    role: Option<Role>,
}

/// How a membership ends.
pub(super) struct Ending {
    /// As the audit log calls it.
    pub(super) action: Action,
    /// Who takes over the conversations.
    pub(super) heir: Option<UserId>,
}

/// Ends all that lets anybody in on the account and takes out what says whose it was. Conversations go to `heir`, or are left
/// for the sweeper, which nobody reaches them before.
pub(super) async fn erase(
    connection: &mut sqlx::PgConnection,
    organization: OrganizationId,
    member: UserId,
    heir: Option<UserId>,
    now: DateTime<Utc>,
) -> Result<Ended, sqlx::Error> {
    let invitations = sqlx::query!(
        "DELETE FROM invitations
         WHERE organization_id = $1 AND (
             (invited_by = $2 AND accepted_at IS NULL)
             OR email_folded = (SELECT email_folded FROM users WHERE organization_id = $1 AND id = $2)
         )",
        organization.0,
        member.0
    )
    .execute(&mut *connection)
    .await?;
    // The address is free for another account. A version that does not know of removal finds nobody by it.
    let role = sqlx::query_scalar!(
        "UPDATE users SET removed_at = $3, updated_at = $3, email = '', name = $4, email_folded = 'removed:' || id,
             displaced_email = NULL, password_hash = ''
         WHERE organization_id = $1 AND id = $2 RETURNING role",
        organization.0,
        member.0,
        now,
        NAME
    )
    .fetch_optional(&mut *connection)
    .await?;
    let sessions = end_sessions(&mut *connection, organization, member, None, now).await?;
    let keys = revoke_keys(&mut *connection, organization, member, now).await?;
    sqlx::query!(
        "UPDATE api_keys SET name = $3 WHERE organization_id = $1 AND user_id = $2",
        organization.0,
        member.0,
        KEY_NAME
    )
    .execute(&mut *connection)
    .await?;
    if let Some(heir) = heir {
        sqlx::query!(
            "UPDATE conversations SET user_id = $3 WHERE organization_id = $1 AND user_id = $2",
            organization.0,
            member.0,
            heir.0
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(Ended {
        sessions,
        keys,
        invitations: invitations.rows_affected(),
        role: role.and_then(|role| role.parse().ok()),
    })
}

/// The end of a transaction by which a membership ends.
pub(super) async fn end_membership(
    mut transaction: sqlx::Transaction<'_, sqlx::Postgres>,
    organization: OrganizationId,
    member: UserId,
    Ending { action, heir }: Ending,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<RoleChange<Ended>, sqlx::Error> {
    let ended = erase(&mut transaction, organization, member, heir, now).await?;
    let event = act
        .event(organization, action, Target::Member(member), now)
        .before("role", ended.role.map(Role::as_str))
        .after("sessions_ended", ended.sessions.len())
        .after("keys_revoked", ended.keys.len())
        .after("invitations_withdrawn", ended.invitations)
        .after("conversations_to", heir.map(|heir| heir.0));
    audit::record(&mut transaction, &event).await?;
    take_back_deletion(&mut transaction, organization, member, act, now).await?;
    transaction.commit().await?;
    Ok(RoleChange::Done(ended))
}

pub(super) fn removed(Ended { sessions, keys, .. }: Ended) -> Result<Removed, StoreError> {
    let keys = keys.into_iter().map(RevokedKey::new);
    Ok(Removed {
        sessions,
        keys: keys.collect::<Result<_, _>>()?,
    })
}

impl Accounts {
    /// Ends somebody's own membership. The last owner stays for as long as there are others, who would have nobody.
    pub async fn leave(
        &self,
        organization: OrganizationId,
        user: UserId,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<RoleChange<Removed>, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let owner = Role::Owner.as_str();
                let owners = sqlx::query_scalar!(
                    "SELECT id FROM users WHERE organization_id = $1 AND role = $2 AND removed_at IS NULL ORDER BY id FOR UPDATE",
                    organization.0,
                    owner
                )
                .fetch_all(&mut *transaction)
                .await?;
                if owners == [user.0] {
                    return Ok(RoleChange::LastOwner);
                }
                let ending = Ending {
                    action: Action::AccountErased,
                    heir: None,
                };
                end_membership(transaction, organization, user, ending, act, now).await
            })
            .await;
        connection.settle(outcome)?.try_map(removed)
    }

    /// Erases people of an organisation whose time is over, a hundred at a time. Nothing if it was restored meanwhile. Also whether
    /// there may be more.
    pub async fn erase_some(
        &self,
        organization: OrganizationId,
        now: DateTime<Utc>,
    ) -> Result<(Removed, bool), StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let mut people = sqlx::query_scalar!(
                    "SELECT id FROM users WHERE organization_id = $1 AND removed_at IS NULL LIMIT $2",
                    organization.0,
                    ERASED_AT_ONCE
                )
                .fetch_all(&mut *transaction)
                .await?;
                let are_more = people.len() == usize::try_from(ERASED_AT_ONCE).unwrap_or(usize::MAX);
                // The people first and in this order, as whoever changes roles does: else the two could wait for each other.
                people.sort_unstable();
                for person in &people {
                    limits::lock_person(&mut transaction, organization, UserId(*person)).await?;
                }
                let due = sqlx::query_scalar!(
                    "SELECT id FROM organizations WHERE id = $1 AND delete_after <= $2 FOR NO KEY UPDATE",
                    organization.0,
                    now
                )
                .fetch_optional(&mut *transaction)
                .await?;
                let mut all = Ended::default();
                if due.is_none() {
                    return Ok((all, false));
                }
                for person in people {
                    let ended = erase(&mut transaction, organization, person.into(), None, now).await?;
                    all.sessions.extend(ended.sessions);
                    all.keys.extend(ended.keys);
                }
                transaction.commit().await?;
                Ok((all, are_more))
            })
            .await;
        let (ended, are_more) = connection.settle(outcome)?;
        Ok((removed(ended)?, are_more))
    }
}
