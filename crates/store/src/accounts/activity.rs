//! When people were last at work.

use chrono::{DateTime, Utc};

use super::Accounts;
use crate::{Database, StoreError, replica::Replica, timed_query};
use domain::ids::{OrganizationId, SessionId, UserId};

impl Accounts {
    /// Notes that these people were at work.
    pub async fn note_active(&self, people: &[(OrganizationId, UserId)], now: DateTime<Utc>) -> Result<(), StoreError> {
        let (organizations, users): (Vec<_>, Vec<_>) = people
            .iter()
            .map(|(organization, user)| (organization.0, user.0))
            .unzip();
        timed_query!(
            self.0,
            sqlx::query!(
                "UPDATE users SET last_active_at = $3
                 FROM unnest($1::uuid[], $2::uuid[]) AS seen (organization_id, user_id)
                 WHERE users.organization_id = seen.organization_id AND users.id = seen.user_id",
                &organizations,
                &users,
                now
            ),
            execute
        )?;
        Ok(())
    }

    /// Notes that these sessions were in use.
    pub async fn note_used(
        &self,
        sessions: &[(OrganizationId, SessionId)],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (organizations, sessions): (Vec<_>, Vec<_>) = sessions
            .iter()
            .map(|(organization, session)| (organization.0, session.0))
            .unzip();
        timed_query!(
            self.0,
            sqlx::query!(
                "UPDATE sessions SET last_used_at = $3
                 FROM unnest($1::uuid[], $2::uuid[]) AS used (organization_id, session_id)
                 WHERE sessions.organization_id = used.organization_id AND sessions.id = used.session_id",
                &organizations,
                &sessions,
                now
            ),
            execute
        )?;
        Ok(())
    }
}

/// Counts people, on the replica for analytics where there is one that is fit.
#[derive(Clone)]
pub struct Counting {
    pub(crate) primary: Database,
    pub(crate) replica: Option<Replica>,
}

impl Counting {
    /// People of all organisations who were at work within a day and within a week before `now`.
    pub async fn active_users(&self, now: DateTime<Utc>) -> Result<(i64, i64), StoreError> {
        let ask = |database: Database| async move {
            let row = timed_query!(
                database,
                sqlx::query!(
                    r#"SELECT count(*) FILTER (WHERE last_active_at > $1::timestamptz - interval '1 day') AS "day!",
                              count(*) AS "week!"
                       FROM users WHERE last_active_at > $1::timestamptz - interval '7 days'"#,
                    now
                ),
                fetch_one
            )?;
            Ok((row.day, row.week))
        };
        Replica::or_primary(self.replica.as_ref(), &self.primary, ask).await
    }
}
