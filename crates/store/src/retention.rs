//! Deleting what is kept no longer, so many rows at a time: a sweeper must hold up nobody. Each gives how many rows went.
//!
//! These queries go over all organisations, since what they look for is age.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::{Database, StoreError, audit, timed_query};
use domain::{
    audit::{Act, Action, Target},
    ids::OrganizationId,
};

/// How many rows a statement took away.
macro_rules! deleted {
    ($db:expr, $query:expr) => {
        timed_query!($db, $query, execute).map(|done| done.rows_affected())
    };
}

#[derive(Clone)]
pub struct Retention(pub(super) Database);

impl Retention {
    /// Conversations of people who are no members any more, with their messages. Each organisation's audit log tells how many.
    pub async fn of_removed_people(&self, limit: i64, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let gone = sqlx::query_scalar!(
                    "DELETE FROM conversations WHERE id IN (
                         SELECT c.id FROM users u
                         JOIN conversations c ON c.organization_id = u.organization_id AND c.user_id = u.id
                         WHERE u.removed_at IS NOT NULL LIMIT $1
                     ) RETURNING organization_id",
                    limit
                )
                .fetch_all(&mut *transaction)
                .await?;
                tell(&mut transaction, &gone, "their owner has left", now).await?;
                transaction.commit().await?;
                Ok(gone.len() as u64)
            })
            .await;
        connection.settle(outcome)
    }

    /// Conversations that nothing was said in since `before`. Each organisation's audit log tells how many.
    pub async fn conversations(
        &self,
        before: DateTime<Utc>,
        limit: i64,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let gone = sqlx::query_scalar!(
                    "DELETE FROM conversations WHERE id IN (SELECT id FROM conversations WHERE updated_at < $1 LIMIT $2)
                     RETURNING organization_id",
                    before,
                    limit
                )
                .fetch_all(&mut *transaction)
                .await?;
                tell(&mut transaction, &gone, "kept no longer", now).await?;
                transaction.commit().await?;
                Ok(gone.len() as u64)
            })
            .await;
        connection.settle(outcome)
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

    /// Events of the audit log before `before`, and all those of organisations whose time is over. Ids begin with the time. The limit
    /// within has each organisation's found by the index, however few of all there are.
    pub async fn audit_events(&self, before: DateTime<Utc>, limit: i64, now: DateTime<Utc>) -> Result<u64, StoreError> {
        deleted!(
            self.0,
            sqlx::query!(
                "DELETE FROM audit_events WHERE id IN (
                     SELECT id FROM (SELECT id, occurred_at FROM audit_events ORDER BY id LIMIT $2) oldest WHERE occurred_at < $1
                     UNION ALL
                     (SELECT due.id FROM organizations o CROSS JOIN LATERAL
                          (SELECT e.id FROM audit_events e WHERE e.organization_id = o.id LIMIT $2) due
                      WHERE o.delete_after <= $3 LIMIT $2)
                 )",
                before,
                limit,
                now
            )
        )
    }

    /// Addresses in the audit log of people who are no members any more.
    pub async fn audit_addresses(&self, limit: i64) -> Result<u64, StoreError> {
        deleted!(
            self.0,
            sqlx::query!(
                "UPDATE audit_events SET address = NULL WHERE id IN (
                     SELECT left_over.id FROM users u CROSS JOIN LATERAL (
                         SELECT e.id FROM audit_events e
                         WHERE e.organization_id = u.organization_id AND e.address_of = u.id AND e.address IS NOT NULL LIMIT $1
                     ) left_over
                     WHERE u.removed_at IS NOT NULL LIMIT $1
                 )",
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

    /// Removes an organisation that nobody is left in and that has neither conversations nor events any more, with its daily sums. Records of
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
                       AND NOT EXISTS (SELECT FROM audit_events e WHERE e.organization_id = o.id)
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

/// How many conversations went of each organisation, and why. Part of deleting them.
async fn tell(
    connection: &mut sqlx::PgConnection,
    gone: &[uuid::Uuid],
    reason: &'static str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut counts = BTreeMap::<_, usize>::new();
    for organization in gone {
        *counts.entry(*organization).or_default() += 1;
    }
    for (organization, count) in counts {
        let event = Act::of_system()
            .event(
                organization.into(),
                Action::ConversationDeleted,
                Target::Conversations,
                now,
            )
            .after("conversations", count)
            .after("reason", reason);
        audit::record(connection, &event).await?;
    }
    Ok(())
}
