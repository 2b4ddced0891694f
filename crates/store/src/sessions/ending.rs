//! Ending sessions, and removing those that are long over.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::Sessions;
use crate::{StoreError, audit, timed_query};
use domain::{
    audit::{Act, Action, Target},
    ids::{OrganizationId, SessionId, UserId},
};

impl Sessions {
    /// Ends one of a user's own sessions; false if it is over, or none of the user's. `action` says whether it is the one that is
    /// signed out of.
    pub async fn end(
        &self,
        organization: OrganizationId,
        user: UserId,
        session: SessionId,
        action: Action,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let done = sqlx::query!(
                    "UPDATE sessions SET ended_at = $4
                     WHERE organization_id = $1 AND user_id = $2 AND id = $3 AND ended_at IS NULL AND expires_at > $4",
                    organization.0,
                    user.0,
                    session.0,
                    now
                )
                .execute(&mut *transaction)
                .await?;
                if done.rows_affected() == 0 {
                    return Ok(false);
                }
                let event = act.event(organization, action, Target::Session(session), now);
                audit::record(&mut transaction, &event).await?;
                transaction.commit().await?;
                Ok(true)
            })
            .await;
        connection.settle(outcome)
    }

    /// Ends every session of a user but `kept`. Gives the ended ones.
    pub async fn end_others(
        &self,
        organization: OrganizationId,
        user: UserId,
        kept: SessionId,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let ended = end_sessions(&mut transaction, organization, user, Some(kept), now).await?;
                if !ended.is_empty() {
                    let event = act
                        .event(organization, Action::SessionEnded, Target::Member(user), now)
                        .after("sessions_ended", ended.len());
                    audit::record(&mut transaction, &event).await?;
                }
                transaction.commit().await?;
                Ok(ended)
            })
            .await;
        connection.settle(outcome)
    }

    /// Removes sessions that ended or expired before `before`, at most `limit` at a time. Gives how many.
    pub async fn sweep(&self, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
        let done = timed_query!(
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

/// Ends a user's sessions, but for `kept`. Gives the ended ones.
pub(crate) async fn end_sessions(
    connection: &mut sqlx::PgConnection,
    organization: OrganizationId,
    user: UserId,
    kept: Option<SessionId>,
    now: DateTime<Utc>,
) -> Result<Vec<SessionId>, sqlx::Error> {
    let ended = sqlx::query_scalar!(
        "UPDATE sessions SET ended_at = $4
         WHERE organization_id = $1 AND user_id = $2 AND id IS DISTINCT FROM $3 AND ended_at IS NULL AND expires_at > $4
         RETURNING id",
        organization.0,
        user.0,
        kept.map(|session| session.0),
        now
    )
    .fetch_all(connection)
    .await?;
    Ok(ended.into_iter().map(SessionId).collect())
}

/// Ends what a user has beyond the newest `max` sessions. Part of signing in.
pub(super) async fn end_oldest(
    connection: &mut sqlx::PgConnection,
    organization: OrganizationId,
    user: UserId,
    max: u32,
    now: DateTime<Utc>,
) -> Result<Vec<SessionId>, sqlx::Error> {
    let ended = sqlx::query_scalar!(
        "UPDATE sessions SET ended_at = $4
         WHERE organization_id = $1 AND id IN (
             SELECT id FROM sessions
             WHERE organization_id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $4
             ORDER BY created_at DESC, id DESC OFFSET $3)
         RETURNING id",
        organization.0,
        user.0,
        i64::from(max),
        now
    )
    .fetch_all(connection)
    .await?;
    Ok(ended.into_iter().map(Into::into).collect())
}
