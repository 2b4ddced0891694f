//! Deleting what is kept no longer, so many rows at a time: a sweeper must hold up nobody. Each gives how many rows went.
//!
//! These queries go over all organisations, since what they look for is age.

use chrono::{DateTime, Utc};

use super::{Database, StoreError, timed_query};
use crate::domain::ids::OrganizationId;

/// How many rows a statement took away.
macro_rules! deleted {
    ($db:expr, $query:expr) => {
        timed_query!($db, $query, execute).map(|done| done.rows_affected())
    };
}

#[derive(Clone)]
pub struct Retention(pub(super) Database);

impl Retention {
    /// Conversations of people who are no members any more, with their messages.
    pub async fn of_removed_people(&self, limit: i64) -> Result<u64, StoreError> {
        deleted!(
            self.0,
            sqlx::query!(
                "DELETE FROM conversations WHERE id IN (
                     SELECT c.id FROM users u JOIN conversations c ON c.organization_id = u.organization_id AND c.user_id = u.id
                     WHERE u.removed_at IS NOT NULL LIMIT $1
                 )",
                limit
            )
        )
    }

    /// Conversations that nothing was said in since `before`.
    pub async fn conversations(&self, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
        deleted!(
            self.0,
            sqlx::query!(
                "DELETE FROM conversations WHERE id IN (SELECT id FROM conversations WHERE updated_at < $1 LIMIT $2)",
                before,
                limit
            )
        )
    }

    /// Answers that another took the place of before `before`.
    pub async fn replaced_answers(&self, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
        deleted!(
            self.0,
            sqlx::query!(
                "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE replaced_at < $1 LIMIT $2)",
                before,
                limit
            )
        )
    }

    /// Invitations that were accepted, or ended, before `before`.
    pub async fn invitations(&self, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
        deleted!(
            self.0,
            sqlx::query!(
                "DELETE FROM invitations WHERE id IN (
                     SELECT id FROM invitations WHERE COALESCE(accepted_at, expires_at) < $1 LIMIT $2
                 )",
                before,
                limit
            )
        )
    }

    /// Keys that were revoked, or ended, before `before`.
    pub async fn keys(&self, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
        deleted!(
            self.0,
            sqlx::query!(
                "DELETE FROM api_keys WHERE id IN (
                     SELECT id FROM api_keys WHERE LEAST(revoked_at, expires_at) < $1 LIMIT $2
                 )",
                before,
                limit
            )
        )
    }

    /// Records of calls before `before`; daily sums stay. Ids begin with the time, so the key's index finds the oldest.
    pub async fn usage_records(&self, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
        deleted!(
            self.0,
            sqlx::query!(
                "DELETE FROM usage_records WHERE id IN (
                     SELECT id FROM (SELECT id, created_at FROM usage_records ORDER BY id LIMIT $2) oldest WHERE created_at < $1
                 )",
                before,
                limit
            )
        )
    }

    /// Organisations whose time is over, and whether anybody is left in each.
    pub async fn due_organizations(&self, now: DateTime<Utc>) -> Result<Vec<(OrganizationId, bool)>, StoreError> {
        let rows = timed_query!(
            self.0,
            sqlx::query!(
                r#"SELECT o.id, EXISTS (SELECT FROM users u WHERE u.organization_id = o.id AND u.removed_at IS NULL) AS "peopled!"
                   FROM organizations o WHERE o.delete_after <= $1 LIMIT 100"#,
                now
            ),
            fetch_all
        )?;
        Ok(rows.into_iter().map(|row| (row.id.into(), row.peopled)).collect())
    }

    /// Removes an organisation that nobody is left in and that has no conversations any more, with its daily sums. Records of
    /// its calls name ids alone, and end with their own time.
    pub async fn remove_organization(
        &self,
        organization: OrganizationId,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let done = timed_query!(
            self.0,
            sqlx::query!(
                "WITH gone AS (
                     DELETE FROM organizations o
                     WHERE o.id = $1 AND o.delete_after <= $2
                       AND NOT EXISTS (SELECT FROM users u WHERE u.organization_id = o.id AND u.removed_at IS NULL)
                       AND NOT EXISTS (SELECT FROM conversations c WHERE c.organization_id = o.id)
                     RETURNING id
                 ), sums AS (DELETE FROM usage_daily WHERE organization_id IN (SELECT id FROM gone))
                 SELECT id FROM gone",
                organization.0,
                now
            ),
            fetch_optional
        )?;
        Ok(u64::from(done.is_some()))
    }
}
