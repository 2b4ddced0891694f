//! What became of sessions and their users, for processes that remember how they were.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::Sessions;
use crate::{StoreError, audit, timed_query};
use domain::{
    audit::{Act, Action, Target},
    ids::{OrganizationId, SessionId, UserId},
    page::Cursor,
};

/// A user whose name, role or password was changed, and one of the user's sessions.
#[derive(Debug, Clone, Copy)]
pub struct UserChange {
    pub organization: OrganizationId,
    pub user: UserId,
    pub at: DateTime<Utc>,
    pub session: Option<SessionId>,
}

/// A session, and when it was ended.
#[derive(Debug, Clone, Copy)]
pub struct SessionEnd {
    pub organization: OrganizationId,
    pub session: SessionId,
    pub at: DateTime<Utc>,
}

impl Sessions {
    /// Sessions that were ended after `since`, the latest first, at most `limit` of those that come after `last`.
    pub async fn ended_since(
        &self,
        since: DateTime<Utc>,
        last: Option<SessionEnd>,
        limit: i64,
    ) -> Result<Vec<SessionEnd>, StoreError> {
        let (at, id) = last.map_or((Cursor::END.time(), Cursor::END.id), |last| (last.at, last.session.0));
        let rows = timed_query!(
            self.0,
            sqlx::query!(
                r#"SELECT organization_id, id, ended_at AS "ended_at!" FROM sessions
                   WHERE ended_at > $1 AND (ended_at, id) < ($2, $3)
                   ORDER BY ended_at DESC, id DESC LIMIT $4"#,
                since,
                at,
                id,
                limit
            ),
            fetch_all
        )?;
        Ok(rows
            .into_iter()
            .map(|row| SessionEnd {
                organization: row.organization_id.into(),
                session: row.id.into(),
                at: row.ended_at,
            })
            .collect())
    }

    /// Users who were changed after `since`, the latest first, each once for every session that may be in use; at most
    /// `limit` rows of those that come after `last`.
    pub async fn changed_since(
        &self,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
        last: Option<UserChange>,
        limit: i64,
    ) -> Result<Vec<UserChange>, StoreError> {
        let end = (Cursor::END.time(), Cursor::END.id, Cursor::END.id);
        let (at, user, session) = last.map_or(end, |last| {
            let session = last.session.map_or(Cursor::START.id, |session| session.0);
            (last.at, last.user.0, session)
        });
        let rows = timed_query!(
            self.0,
            sqlx::query!(
                r#"SELECT u.organization_id, u.id AS user_id, u.updated_at, s.id AS "session_id?"
                   FROM users u
                   LEFT JOIN sessions s ON s.organization_id = u.organization_id AND s.user_id = u.id
                       AND s.ended_at IS NULL AND s.expires_at > $2
                   WHERE u.updated_at > $1 AND u.updated_at > u.created_at AND u.updated_at <= $3
                     AND (u.updated_at, u.id, COALESCE(s.id, '00000000-0000-0000-0000-000000000000')) < ($3, $4, $5)
                   ORDER BY u.updated_at DESC, u.id DESC,
                       COALESCE(s.id, '00000000-0000-0000-0000-000000000000') DESC LIMIT $6"#,
                since,
                now,
                at,
                user,
                session,
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

    /// Notes when the password was last given in a session; false if the session is over, or the password is not the user's any
    /// more.
    pub async fn confirm(
        &self,
        organization: OrganizationId,
        user: UserId,
        session: SessionId,
        password_hash: &str,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let done = sqlx::query!(
                    "UPDATE sessions s SET confirmed_at = $5 FROM users u
                     WHERE s.organization_id = $1 AND s.user_id = $2 AND s.id = $3 AND s.ended_at IS NULL AND s.expires_at > $5
                       AND u.organization_id = $1 AND u.id = $2 AND u.removed_at IS NULL AND u.password_hash = $4",
                    organization.0,
                    user.0,
                    session.0,
                    password_hash,
                    now
                )
                .execute(&mut *transaction)
                .await?;
                if done.rows_affected() == 0 {
                    return Ok(false);
                }
                let target = Target::Session(session);
                let event = act.event(organization, Action::PasswordConfirmed, target, now);
                audit::record(&mut transaction, &event).await?;
                transaction.commit().await?;
                Ok(true)
            })
            .await;
        connection.settle(outcome)
    }

    /// A user's sessions that are neither over nor expired.
    pub async fn of_user(
        &self,
        organization: OrganizationId,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let ids = timed_query!(
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
}
