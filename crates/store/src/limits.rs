//! How many rows of a kind one person and one organisation may have. Counted in the transaction that adds one, under a lock of
//! the organisation, so that simultaneous requests do not slip through together.

use std::fmt;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use domain::ids::{OrganizationId, UserId};

/// There are as many as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct LimitReached {
    pub kind: Limited,
    pub max: u32,
}

/// What is limited, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    KeysOfPerson,
    KeysOfOrganization,
    InvitationsOfPerson,
    InvitationsOfOrganization,
    InvitationsOfAddress,
    ConversationsOfPerson,
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = self.max;
        match self.kind {
            Limited::KeysOfPerson => write!(f, "You have {max} API keys, as many as one person may have."),
            Limited::KeysOfOrganization => {
                write!(f, "Your organisation has {max} API keys, as many as it may have.")
            }
            Limited::InvitationsOfPerson => {
                write!(f, "{max} of your invitations are open, as many as one person may have.")
            }
            Limited::InvitationsOfOrganization => {
                write!(
                    f,
                    "{max} invitations of your organisation are open, as many as it may have."
                )
            }
            Limited::InvitationsOfAddress => {
                write!(
                    f,
                    "{max} invitations for this e-mail address are open, as many as there may be."
                )
            }
            Limited::ConversationsOfPerson => {
                write!(f, "You have {max} conversations, as many as one person may have.")
            }
        }
    }
}

/// A count and what it may be, in the order in which callers are told.
pub(super) type Counted = (Limited, i64, u32);

/// The first limit that one more would pass.
pub(super) fn reached(counted: &[Counted]) -> Option<LimitReached> {
    let over = counted.iter().find(|(_, count, max)| *count >= i64::from(*max));
    over.map(|(kind, _, max)| LimitReached { kind: *kind, max: *max })
}

/// Lets one transaction at a time count and add for an organisation. Who only refers to it is not held up. The person who adds is
/// locked first, as whoever changes roles does: else the two could wait for each other.
pub(super) async fn lock(
    connection: &mut PgConnection,
    organization: OrganizationId,
    person: UserId,
) -> Result<(), sqlx::Error> {
    lock_person(&mut *connection, organization, person).await?;
    sqlx::query!(
        "SELECT id FROM organizations WHERE id = $1 FOR NO KEY UPDATE",
        organization.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(())
}

/// Lets one transaction at a time count and add for a person.
pub(super) async fn lock_person(
    connection: &mut PgConnection,
    organization: OrganizationId,
    user: UserId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT id FROM users WHERE organization_id = $1 AND id = $2 FOR NO KEY UPDATE",
        organization.0,
        user.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(())
}

/// Keys that are good: of one person, and of the organisation.
pub(super) async fn keys(
    connection: &mut PgConnection,
    organization: OrganizationId,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<(i64, i64), sqlx::Error> {
    let counts = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE user_id = $2) AS "own!", count(*) AS "all!" FROM api_keys
           WHERE organization_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)"#,
        organization.0,
        user.0,
        now
    )
    .fetch_one(connection)
    .await?;
    Ok((counts.own, counts.all))
}

/// Invitations that can be accepted: of one person, of the organisation, and to one address (folded).
pub(super) async fn invitations(
    connection: &mut PgConnection,
    organization: OrganizationId,
    user: UserId,
    address: &str,
    now: DateTime<Utc>,
) -> Result<(i64, i64, i64), sqlx::Error> {
    let counts = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE invited_by = $2) AS "own!", count(*) AS "all!",
                  count(*) FILTER (WHERE email_folded = $3) AS "to_address!"
           FROM invitations WHERE organization_id = $1 AND accepted_at IS NULL AND expires_at > $4"#,
        organization.0,
        user.0,
        address,
        now
    )
    .fetch_one(connection)
    .await?;
    Ok((counts.own, counts.all, counts.to_address))
}

pub(super) async fn conversations(
    connection: &mut PgConnection,
    organization: OrganizationId,
    user: UserId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM conversations WHERE organization_id = $1 AND user_id = $2"#,
        organization.0,
        user.0
    )
    .fetch_one(connection)
    .await
}
