//! Sessions and their refresh tokens.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::{Database, StoreError, accounts::end_sessions, run};
use crate::{
    crypto::secret::Digest,
    domain::{
        account::{Session, SessionOwner},
        ids::{OrganizationId, SessionId, UserId},
        page::{Cursor, Page, PageRequest},
    },
};

#[derive(Clone)]
pub struct Sessions(pub(super) Database);

/// A session to insert, with its first refresh token (for programs) or its cookie (for the page).
pub struct NewSession<'a> {
    pub id: SessionId,
    pub refresh: Option<&'a Digest>,
    pub cookie: Option<&'a Digest>,
    pub expires_at: DateTime<Utc>,
}

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

/// A user whose name, role or password was changed, and one of the user's sessions.
#[derive(Debug, Clone, Copy)]
pub struct UserChange {
    pub organization: OrganizationId,
    pub user: UserId,
    pub at: DateTime<Utc>,
    pub session: Option<SessionId>,
}

struct OwnerRow {
    session_id: uuid::Uuid,
    organization_id: uuid::Uuid,
    user_id: uuid::Uuid,
    role: String,
    expires_at: DateTime<Utc>,
}

impl TryFrom<OwnerRow> for SessionOwner {
    type Error = StoreError;

    fn try_from(row: OwnerRow) -> Result<Self, StoreError> {
        Ok(Self {
            session: row.session_id.into(),
            organization: row.organization_id.into(),
            user: row.user_id.into(),
            role: row.role.parse().map_err(StoreError::corrupt)?,
            expires_at: row.expires_at,
        })
    }
}

impl Sessions {
    /// Opens a session of one user; false if the user was removed meanwhile.
    pub async fn create(
        &self,
        organization: OrganizationId,
        user: UserId,
        new: &NewSession<'_>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut lease = self.0.lease().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = lease.connection().begin().await?;
                // The lock makes it wait for a removal that is under way, and the removal for it.
                let made = sqlx::query!(
                    "INSERT INTO sessions (id, organization_id, user_id, cookie_digest, created_at, expires_at)
                     SELECT $1, organization_id, id, $4, $5, $6 FROM users
                     WHERE organization_id = $2 AND id = $3 AND removed_at IS NULL FOR KEY SHARE",
                    new.id.0,
                    organization.0,
                    user.0,
                    new.cookie.map(Digest::as_slice),
                    now,
                    new.expires_at
                )
                .execute(&mut *transaction)
                .await?;
                if made.rows_affected() == 0 {
                    return Ok(false);
                }
                if let Some(refresh) = new.refresh {
                    sqlx::query!(
                        "INSERT INTO refresh_tokens (digest, session_id, created_at) VALUES ($1, $2, $3)",
                        refresh.as_slice(),
                        new.id.0,
                        now
                    )
                    .execute(&mut *transaction)
                    .await?;
                }
                transaction.commit().await?;
                Ok(true)
            })
            .await;
        lease.settle(outcome)
    }

    /// The owner of a session that is neither over nor expired, with the role as it is now.
    pub async fn find(
        &self,
        organization: OrganizationId,
        session: SessionId,
        now: DateTime<Utc>,
    ) -> Result<Option<SessionOwner>, StoreError> {
        run!(
            self.0,
            sqlx::query_as!(
                OwnerRow,
                "SELECT s.id AS session_id, s.organization_id, s.user_id, u.role, s.expires_at
                 FROM sessions s JOIN users u ON u.organization_id = s.organization_id AND u.id = s.user_id
                 WHERE s.organization_id = $1 AND s.id = $2 AND u.removed_at IS NULL AND s.ended_at IS NULL AND s.expires_at > $3",
                organization.0,
                session.0,
                now
            ),
            fetch_optional
        )?
        .map(SessionOwner::try_from)
        .transpose()
    }

    /// The same by the page's cookie, which is itself the authority.
    pub async fn find_by_cookie(
        &self,
        cookie: &Digest,
        now: DateTime<Utc>,
    ) -> Result<Option<SessionOwner>, StoreError> {
        run!(
            self.0,
            sqlx::query_as!(
                OwnerRow,
                "SELECT s.id AS session_id, s.organization_id, s.user_id, u.role, s.expires_at
                 FROM sessions s JOIN users u ON u.organization_id = s.organization_id AND u.id = s.user_id
                 WHERE s.cookie_digest = $1 AND u.removed_at IS NULL AND s.ended_at IS NULL AND s.expires_at > $2",
                cookie.as_slice(),
                now
            ),
            fetch_optional
        )?
        .map(SessionOwner::try_from)
        .transpose()
    }

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

    pub async fn end(
        &self,
        organization: OrganizationId,
        session: SessionId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        run!(
            self.0,
            sqlx::query!(
                "UPDATE sessions SET ended_at = $3 WHERE organization_id = $1 AND id = $2 AND ended_at IS NULL",
                organization.0,
                session.0,
                now
            ),
            execute
        )?;
        Ok(())
    }

    /// Ends one of a user's own sessions; false if there is none.
    pub async fn end_own(
        &self,
        organization: OrganizationId,
        user: UserId,
        session: SessionId,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let done = run!(
            self.0,
            sqlx::query!(
                "UPDATE sessions SET ended_at = $4
                 WHERE organization_id = $1 AND user_id = $2 AND id = $3 AND ended_at IS NULL AND expires_at > $4",
                organization.0,
                user.0,
                session.0,
                now
            ),
            execute
        )?;
        Ok(done.rows_affected() > 0)
    }

    /// Ends every session of a user but `kept`. Gives the ended ones.
    pub async fn end_others(
        &self,
        organization: OrganizationId,
        user: UserId,
        kept: SessionId,
        now: DateTime<Utc>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut lease = self.0.lease().await?;
        let ending = end_sessions(lease.connection(), organization, user, Some(kept), now);
        let outcome = self.0.limit(ending).await;
        lease.settle(outcome)
    }

    /// A user's sessions that are neither over nor expired, newest first.
    pub async fn list(
        &self,
        organization: OrganizationId,
        user: UserId,
        page: PageRequest,
        now: DateTime<Utc>,
    ) -> Result<Page<Session>, StoreError> {
        let after = page.after.unwrap_or(Cursor::END);
        let rows = run!(
            self.0,
            sqlx::query!(
                r#"SELECT id, cookie_digest IS NOT NULL AS "is_browser!", created_at, expires_at FROM sessions
                   WHERE organization_id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3
                     AND (created_at, id) < ($4, $5)
                   ORDER BY created_at DESC, id DESC LIMIT $6"#,
                organization.0,
                user.0,
                now,
                after.time(),
                after.id,
                i64::from(page.limit) + 1
            ),
            fetch_all
        )?;
        let sessions = rows.into_iter().map(|row| Session {
            id: row.id.into(),
            is_browser: row.is_browser,
            created_at: row.created_at,
            expires_at: row.expires_at,
        });
        Ok(Page::cut(sessions.collect(), page.limit, |session: &Session| Cursor {
            micros: session.created_at.timestamp_micros(),
            id: session.id.0,
        }))
    }

    /// Sessions that were ended after `since`, the latest first, at most `limit`.
    pub async fn ended_since(
        &self,
        since: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<(OrganizationId, SessionId)>, StoreError> {
        let rows = run!(
            self.0,
            sqlx::query!(
                "SELECT organization_id, id FROM sessions WHERE ended_at > $1 ORDER BY ended_at DESC LIMIT $2",
                since,
                limit
            ),
            fetch_all
        )?;
        Ok(rows
            .into_iter()
            .map(|row| (row.organization_id.into(), row.id.into()))
            .collect())
    }

    /// Users who were changed after `since`, the latest first, each once for every session that may be in use; at most
    /// `limit` rows.
    pub async fn changed_since(
        &self,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<UserChange>, StoreError> {
        let rows = run!(
            self.0,
            sqlx::query!(
                r#"SELECT u.organization_id, u.id AS user_id, u.updated_at, s.id AS "session_id?"
                   FROM users u
                   LEFT JOIN sessions s ON s.organization_id = u.organization_id AND s.user_id = u.id
                       AND s.ended_at IS NULL AND s.expires_at > $2
                   WHERE u.updated_at > $1 AND u.updated_at > u.created_at
                   ORDER BY u.updated_at DESC LIMIT $3"#,
                since,
                now,
                limit
            ),
            fetch_all
        )?;
        Ok(rows
            .into_iter()
            .map(|row| UserChange {
                organization: row.organization_id.into(),
                user: row.user_id.into(),
                at: row.updated_at,
                session: row.session_id.map(SessionId),
            })
            .collect())
    }

    /// A user's sessions that are neither over nor expired.
    pub async fn of_user(
        &self,
        organization: OrganizationId,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let ids = run!(
            self.0,
            sqlx::query_scalar!(
                "SELECT id FROM sessions
                 WHERE organization_id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3",
                organization.0,
                user.0,
                now
            ),
            fetch_all
        )?;
        Ok(ids.into_iter().map(SessionId).collect())
    }

    /// Removes sessions that ended or expired before `before`, at most `limit` at a time. Gives how many.
    pub async fn sweep(&self, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
        let done = run!(
            self.0,
            sqlx::query!(
                "DELETE FROM sessions WHERE id IN
                     (SELECT id FROM sessions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
                before,
                limit
            ),
            execute
        )?;
        Ok(done.rows_affected())
    }
}
