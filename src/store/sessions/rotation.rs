//! Exchanging refresh tokens, of which each is good once.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::{OwnerRow, Sessions};
use crate::{
    crypto::secret::Digest,
    domain::{
        account::SessionOwner,
        ids::{OrganizationId, SessionId},
    },
    store::StoreError,
};

/// What comes of presenting a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The token was good and is now used up.
    Rotated(SessionOwner),
    /// The token had been used before; its session has been ended.
    Reused(OrganizationId, SessionId),
    /// No such token, or its session is over.
    Unknown,
}

impl Sessions {
    /// Exchanges `old` for `new`. Presenting a used token ends the session: either its owner or a thief has it, and we
    /// cannot tell which (RFC 9700 4.14.2).
    pub async fn rotate(&self, old: &Digest, new: &Digest, now: DateTime<Utc>) -> Result<Rotation, StoreError> {
        let mut lease = self.0.lease().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = lease.connection().begin().await?;
                let Some(token) = sqlx::query!(
                    "SELECT session_id, used_at FROM refresh_tokens WHERE digest = $1 FOR UPDATE",
                    old.as_slice()
                )
                .fetch_optional(&mut *transaction)
                .await?
                else {
                    return Ok(None);
                };
                if token.used_at.is_some() {
                    let organization = sqlx::query_scalar!(
                        "UPDATE sessions SET ended_at = COALESCE(ended_at, $2) WHERE id = $1 RETURNING organization_id",
                        token.session_id,
                        now
                    )
                    .fetch_one(&mut *transaction)
                    .await?;
                    transaction.commit().await?;
                    return Ok(Some(Err((organization.into(), SessionId(token.session_id)))));
                }
                let Some(owner) = sqlx::query_as!(
                    OwnerRow,
                    "SELECT s.id AS session_id, s.organization_id, s.user_id, u.role, s.expires_at
                     FROM sessions s JOIN users u ON u.organization_id = s.organization_id AND u.id = s.user_id
                     WHERE s.id = $1 AND u.removed_at IS NULL AND s.ended_at IS NULL AND s.expires_at > $2",
                    token.session_id,
                    now
                )
                .fetch_optional(&mut *transaction)
                .await?
                else {
                    return Ok(None);
                };
                sqlx::query!(
                    "UPDATE refresh_tokens SET used_at = $2 WHERE digest = $1",
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
        Ok(match lease.settle(outcome)? {
            Some(Ok(owner)) => Rotation::Rotated(owner.try_into()?),
            Some(Err((organization, session))) => Rotation::Reused(organization, session),
            None => Rotation::Unknown,
        })
    }
}
