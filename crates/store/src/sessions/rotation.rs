//! Exchanging refresh tokens, of which each is good once.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::Connection;

use super::{OwnerRow, Sessions};
use crate::{StoreError, audit};
use crypto::secret::Digest;
use domain::{
    account::SessionOwner,
    audit::{Act, Action, Target},
    ids::{OrganizationId, SessionId},
};

/// A refresh token that comes again within this gets another token of the same session: two tabs wake at once, or an answer is
/// lost on a phone's network and asked for again.
const REFRESH_GRACE: TimeDelta = TimeDelta::seconds(10);
/// Tokens that a session may be given within the grace. No client that is well asks for more.
const MAX_TOKENS_IN_GRACE: i64 = 8;

/// What comes of presenting a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The token was good and is now used up.
    Rotated(SessionOwner),
    /// The token had been used some time before; its session has been ended.
    Reused(OrganizationId, SessionId),
    /// No such token, or its session is over.
    Unknown,
}

impl Sessions {
    /// Exchanges `old` for `new`. Presenting a token some time after it was used ends the session: either its owner or a thief
    /// has it, and we cannot tell which (RFC 9700 4.14.2). Within [`REFRESH_GRACE`] of its use it is exchanged once more.
    pub async fn rotate(
        &self,
        old: &Digest,
        new: &Digest,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<Rotation, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let Some(token) = sqlx::query!(
                    "SELECT session_id, used_at FROM refresh_tokens WHERE digest = $1 FOR UPDATE",
                    old.as_slice()
                )
                .fetch_optional(&mut *transaction)
                .await?
                else {
                    return Ok(None);
                };
                let is_reused = match token.used_at {
                    None => false,
                    Some(used) if now - used >= REFRESH_GRACE => true,
                    Some(used) => given_since(&mut transaction, token.session_id, used).await? >= MAX_TOKENS_IN_GRACE,
                };
                if is_reused {
                    let session = SessionId(token.session_id);
                    let found = sqlx::query!(
                        r#"WITH ended AS (
                               UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL RETURNING id
                           )
                           SELECT organization_id, user_id, EXISTS (SELECT FROM ended) AS "has_ended!"
                           FROM sessions WHERE id = $1"#,
                        session.0,
                        now
                    )
                    .fetch_one(&mut *transaction)
                    .await?;
                    let (organization, user) = (OrganizationId(found.organization_id), found.user_id.into());
                    if found.has_ended {
                        let target = Target::Session(session);
                        let event = act
                            .event_about(user, organization, Action::SessionEnded, target, now)
                            .after("reason", "a used refresh token came again");
                        audit::record(&mut transaction, &event).await?;
                    }
                    transaction.commit().await?;
                    return Ok(Some(Err((organization, session))));
                }
                let Some(owner) = sqlx::query_as!(
                    OwnerRow,
                    r#"SELECT s.id AS session_id, s.organization_id, s.user_id, u.role, s.expires_at,
                              GREATEST(s.created_at, s.confirmed_at) AS "confirmed_at!"
                     FROM sessions s JOIN users u ON u.organization_id = s.organization_id AND u.id = s.user_id
                     WHERE s.id = $1 AND u.removed_at IS NULL AND s.ended_at IS NULL AND s.expires_at > $2"#,
                    token.session_id,
                    now
                )
                .fetch_optional(&mut *transaction)
                .await?
                else {
                    return Ok(None);
                };
                sqlx::query!(
                    "UPDATE refresh_tokens SET used_at = COALESCE(used_at, $2) WHERE digest = $1",
                    old.as_slice(),
                    now
                )
                .execute(&mut *transaction)
                .await?;
                sqlx::query!(
                    "INSERT INTO refresh_tokens (digest, session_id, created_at) VALUES ($1, $2, $3)",
                    new.as_slice(),
                    token.session_id,
                    now
                )
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await?;
                Ok(Some(Ok(owner)))
            })
            .await;
        Ok(match connection.settle(outcome)? {
            Some(Ok(owner)) => Rotation::Rotated(owner.try_into()?),
            Some(Err((organization, session))) => Rotation::Reused(organization, session),
            None => Rotation::Unknown,
        })
    }
}

/// Refresh tokens that a session was given from `since` on.
async fn given_since(
    connection: &mut sqlx::PgConnection,
    session: uuid::Uuid,
    since: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM refresh_tokens WHERE session_id = $1 AND created_at >= $2"#,
        session,
        since
    )
    .fetch_one(connection)
    .await
}
