//! Conversations. They belong to one user; colleagues do not see them.

use chrono::{DateTime, Utc};

use sqlx::Connection;

use super::{
    Database, StoreError, audit,
    limits::{self, LimitReached, Limited},
    timed_query,
};
use configuration::LimitsConfig;
use domain::{
    audit::{Act, Action, Target},
    conversation::Conversation,
    ids::{ConversationId, OrganizationId, UserId},
    page::{Cursor, Page, PageRequest},
};

#[derive(Clone)]
pub struct Conversations(pub(super) Database);

struct ConversationRow {
    id: uuid::Uuid,
    title: Option<String>,
    model: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<ConversationRow> for Conversation {
    fn from(row: ConversationRow) -> Self {
        Self {
            id: row.id.into(),
            title: row.title,
            model: row.model,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl Conversations {
    pub async fn create(
        &self,
        organization: OrganizationId,
        user: UserId,
        title: Option<&str>,
        model: Option<&str>,
        limits: &LimitsConfig,
        now: DateTime<Utc>,
    ) -> Result<Result<Conversation, LimitReached>, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self.0.limit(async {
            let mut transaction = connection.get().begin().await?;
            limits::lock_person(&mut transaction, organization, user).await?;
            let own = limits::conversations(&mut transaction, organization, user).await?;
            let counted = [(Limited::ConversationsOfPerson, own, limits.conversations_per_person)];
            if let Some(reached) = limits::reached(&counted) {
                return Ok(Err(reached));
            }
            let row = sqlx::query_as!(
                ConversationRow,
                "INSERT INTO conversations (id, organization_id, user_id, title, model, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $6)
                 RETURNING id, title, model, created_at, updated_at",
                ConversationId::generate().0,
                organization.0,
                user.0,
                title,
                model,
                now
            )
            .fetch_one(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(Ok(row.into()))
        });
        let outcome = outcome.await;
        connection.settle(outcome)
    }

    /// Most recently used first.
    pub async fn list(
        &self,
        organization: OrganizationId,
        user: UserId,
        page: PageRequest,
    ) -> Result<Page<Conversation>, StoreError> {
        let after = page.after.unwrap_or(Cursor::END);
        let rows = timed_query!(
            self.0,
            sqlx::query_as!(
                ConversationRow,
                "SELECT id, title, model, created_at, updated_at FROM conversations
                 WHERE organization_id = $1 AND user_id = $2 AND (updated_at, id) < ($3, $4)
                 ORDER BY updated_at DESC, id DESC LIMIT $5",
                organization.0,
                user.0,
                after.time(),
                after.id,
                i64::from(page.limit) + 1
            ),
            fetch_all
        )?;
        let rows = rows.into_iter().map(Conversation::from).collect();
        Ok(Page::cut(rows, page.limit, |row: &Conversation| Cursor {
            micros: row.updated_at.timestamp_micros(),
            id: row.id.0,
        }))
    }

    pub async fn get(
        &self,
        organization: OrganizationId,
        user: UserId,
        id: ConversationId,
    ) -> Result<Option<Conversation>, StoreError> {
        let row = timed_query!(
            self.0,
            sqlx::query_as!(
                ConversationRow,
                "SELECT id, title, model, created_at, updated_at FROM conversations
                 WHERE organization_id = $1 AND user_id = $2 AND id = $3",
                organization.0,
                user.0,
                id.0
            ),
            fetch_optional
        )?;
        Ok(row.map(Conversation::from))
    }

    /// Changes what is given and leaves the rest; `None` if there is no such conversation.
    pub async fn update(
        &self,
        organization: OrganizationId,
        user: UserId,
        id: ConversationId,
        title: Option<&str>,
        model: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Option<Conversation>, StoreError> {
        let row = timed_query!(
            self.0,
            sqlx::query_as!(
                ConversationRow,
                "UPDATE conversations SET title = COALESCE($4, title), model = COALESCE($5, model), updated_at = $6
                 WHERE organization_id = $1 AND user_id = $2 AND id = $3
                 RETURNING id, title, model, created_at, updated_at",
                organization.0,
                user.0,
                id.0,
                title,
                model,
                now
            ),
            fetch_optional
        )?;
        Ok(row.map(Conversation::from))
    }

    /// Gives another title if it still has this one; whether it had. It keeps its place in the list.
    pub async fn retitle(
        &self,
        organization: OrganizationId,
        user: UserId,
        id: ConversationId,
        before: &str,
        title: &str,
    ) -> Result<bool, StoreError> {
        let done = timed_query!(
            self.0,
            sqlx::query!(
                "UPDATE conversations SET title = $5
                 WHERE organization_id = $1 AND user_id = $2 AND id = $3 AND title = $4",
                organization.0,
                user.0,
                id.0,
                before,
                title
            ),
            execute
        )?;
        Ok(done.rows_affected() > 0)
    }

    /// Removes a conversation with its messages; false if there is none.
    pub async fn delete(
        &self,
        organization: OrganizationId,
        user: UserId,
        id: ConversationId,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let done = sqlx::query!(
                    "DELETE FROM conversations WHERE organization_id = $1 AND user_id = $2 AND id = $3",
                    organization.0,
                    user.0,
                    id.0
                )
                .execute(&mut *transaction)
                .await?;
                if done.rows_affected() == 0 {
                    return Ok(false);
                }
                let target = Target::Conversation(id);
                let event = act.event(organization, Action::ConversationDeleted, target, now);
                audit::record(&mut transaction, &event).await?;
                transaction.commit().await?;
                Ok(true)
            })
            .await;
        connection.settle(outcome)
    }
}
