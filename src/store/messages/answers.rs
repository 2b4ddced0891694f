//! Answers while they are written: begun, kept now and again, finished.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::Messages;
use crate::{
    domain::{
        conversation::{Message, MessageStatus},
        ids::{ConversationId, MessageId, OrganizationId},
    },
    store::{StoreError, run},
};

impl Messages {
    /// Adds a question and the place of its answer, and moves the conversation to the top. With no `question` only the
    /// answer's place is made (an answer is asked for again).
    pub async fn begin_answer(
        &self,
        organization: OrganizationId,
        conversation: ConversationId,
        question: Option<&Message>,
        answer: &Message,
        title: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut lease = self.0.lease().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = lease.connection().begin().await?;
                for message in question.into_iter().chain([answer]) {
                    sqlx::query!(
                        "INSERT INTO messages (id, organization_id, conversation_id, author, content, model, status, created_at, updated_at)
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
                        message.id.0,
                        organization.0,
                        conversation.0,
                        message.author.as_str(),
                        message.content,
                        message.model,
                        message.status.as_str(),
                        message.created_at
                    )
                    .execute(&mut *transaction)
                    .await?;
                }
                sqlx::query!(
                    "UPDATE conversations SET title = COALESCE(title, $3), model = $4, updated_at = $5
                     WHERE organization_id = $1 AND id = $2",
                    organization.0,
                    conversation.0,
                    title,
                    answer.model,
                    answer.created_at
                )
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await
            })
            .await;
        lease.settle(outcome)
    }

    /// Keeps what has been written so far, so that a killed process loses little of it.
    pub async fn checkpoint(
        &self,
        organization: OrganizationId,
        id: MessageId,
        content: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        run!(
            self.0,
            sqlx::query!(
                "UPDATE messages SET content = $3, updated_at = $4
                 WHERE organization_id = $1 AND id = $2 AND status = 'streaming'",
                organization.0,
                id.0,
                content,
                now
            ),
            execute
        )?;
        Ok(())
    }

    /// Closes an answer, and hides those in `replaces`, which may be the answer itself.
    pub async fn finish_answer(
        &self,
        organization: OrganizationId,
        id: MessageId,
        content: &str,
        status: MessageStatus,
        replaces: &[MessageId],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let old: Vec<uuid::Uuid> = replaces.iter().map(|message| message.0).collect();
        let mut lease = self.0.lease().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = lease.connection().begin().await?;
                sqlx::query!(
                    "UPDATE messages SET content = $3, status = $4, updated_at = $5 WHERE organization_id = $1 AND id = $2",
                    organization.0,
                    id.0,
                    content,
                    status.as_str(),
                    now
                )
                .execute(&mut *transaction)
                .await?;
                if !old.is_empty() {
                    sqlx::query!(
                        "UPDATE messages SET replaced_at = $3 WHERE organization_id = $1 AND id = ANY($2) AND replaced_at IS NULL",
                        organization.0,
                        &old,
                        now
                    )
                    .execute(&mut *transaction)
                    .await?;
                }
                transaction.commit().await
            })
            .await;
        lease.settle(outcome)
    }

    /// Marks answers whose writer has been silent since `before` as partial, or failed if they have no text. The writer
    /// checkpoints every few seconds, so silence means that its process is gone.
    pub async fn close_abandoned(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let done = run!(
            self.0,
            sqlx::query!(
                "UPDATE messages SET status = CASE WHEN content = '' THEN 'failed' ELSE 'partial' END, updated_at = $2
                 WHERE status = 'streaming' AND updated_at < $1",
                before,
                now
            ),
            execute
        )?;
        Ok(done.rows_affected())
    }
}
