//! Answers while they are written: begun, saved at intervals, finished.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::Messages;
use crate::{StoreError, timed_query};
use domain::{
    conversation::{Ending, Message},
    ids::{ConversationId, MessageId, OrganizationId, UserId},
};

/// An answer that is to be written.
#[derive(Clone, Copy)]
pub struct NewAnswer<'a> {
    pub organization: OrganizationId,
    pub user: UserId,
    pub conversation: ConversationId,
    /// Absent where an answer is asked for again.
    pub question: Option<&'a Message>,
    pub answer: &'a Message,
    /// For a conversation that has none.
    pub title: Option<&'a str>,
    /// The newest message that the caller knows of.
    pub last: Option<MessageId>,
    pub alive_since: DateTime<Utc>,
}

/// The result of [`Messages::begin_answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeginOutcome {
    Stored,
    NotFound,
    /// Another answer is being written there.
    InProgress,
    /// There are messages that the caller does not know of.
    Changed,
}

impl Messages {
    /// Adds a question and the place of its answer, and moves the conversation to the top. With no `question` only the
    /// answer's place is made (an answer is asked for again). Only if no other answer is being written there that has been
    /// touched since `alive_since`, and `last` is still the newest message: the conversation's row is locked, so this holds for
    /// all instances. Public reports: epam/ai-dial-chat #8688, LibreChat #3858.
    pub async fn begin_answer(&self, new: NewAnswer<'_>) -> Result<BeginOutcome, StoreError> {
        let NewAnswer {
            organization,
            user,
            conversation,
            question,
            answer,
            title,
            last,
            alive_since,
        } = new;
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let found = sqlx::query_scalar!(
                    "SELECT id FROM conversations WHERE organization_id = $1 AND user_id = $2 AND id = $3
                     FOR NO KEY UPDATE",
                    organization.0,
                    user.0,
                    conversation.0
                )
                .fetch_optional(&mut *transaction)
                .await?;
                if found.is_none() {
                    return Ok(BeginOutcome::NotFound);
                }
                let is_written = sqlx::query_scalar!(
                    r#"SELECT EXISTS (SELECT FROM messages WHERE organization_id = $1 AND conversation_id = $2
                       AND status = 'streaming' AND updated_at >= $3) AS "is_written!""#,
                    organization.0,
                    conversation.0,
                    alive_since
                )
                .fetch_one(&mut *transaction)
                .await?;
                if is_written {
                    return Ok(BeginOutcome::InProgress);
                }
                let newest = sqlx::query_scalar!(
                    "SELECT id FROM messages
                     WHERE organization_id = $1 AND conversation_id = $2 AND replaced_at IS NULL
                     ORDER BY created_at DESC, id DESC LIMIT 1",
                    organization.0,
                    conversation.0
                )
                .fetch_optional(&mut *transaction)
                .await?;
                if newest != last.map(|last| last.0) {
                    return Ok(BeginOutcome::Changed);
                }
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
                transaction.commit().await?;
                Ok(BeginOutcome::Stored)
            })
            .await;
        connection.settle(outcome)
    }

    /// Keeps what has been written so far, so that a killed process loses little of it. False if there is nobody to keep it
    /// for any more: the conversation was deleted, or its person removed. An answer that was taken for abandoned while the
    /// database was away is being written after all.
    pub async fn checkpoint(
        &self,
        organization: OrganizationId,
        answer: &Message,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let done = timed_query!(
            self.0,
            sqlx::query!(
                "UPDATE messages m SET content = $3, thoughts = $4, updated_at = $5, status = 'streaming',
                     end_reason = NULL, end_detail = NULL
                 FROM conversations c JOIN users u ON u.organization_id = c.organization_id AND u.id = c.user_id
                 WHERE m.organization_id = $1 AND m.id = $2
                   AND c.organization_id = $1 AND c.id = m.conversation_id AND u.removed_at IS NULL",
                organization.0,
                answer.id.0,
                answer.content,
                answer.thoughts,
                now
            ),
            execute
        )?;
        Ok(done.rows_affected() > 0)
    }

    /// Closes an answer, and hides those in `replaces`, which may be the answer itself. False if its conversation is gone.
    pub async fn finish_answer(
        &self,
        organization: OrganizationId,
        answer: &Message,
        replaces: &[MessageId],
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let old: Vec<uuid::Uuid> = replaces.iter().map(|message| message.0).collect();
        let ending = answer.ending.as_ref();
        let retry_after = ending.and_then(|ending| ending.retry_after).map(i64::from);
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let done = sqlx::query!(
                    "UPDATE messages SET content = $3, thoughts = $4, status = $5, end_reason = $6, end_detail = $7,
                         end_retry_after = $8, updated_at = $9
                     WHERE organization_id = $1 AND id = $2",
                    organization.0,
                    answer.id.0,
                    answer.content,
                    answer.thoughts,
                    answer.status.as_str(),
                    ending.map(|ending| &*ending.reason),
                    ending.map(|ending| &*ending.detail),
                    retry_after,
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
                transaction.commit().await?;
                Ok(done.rows_affected() > 0)
            })
            .await;
        connection.settle(outcome)
    }

    /// Marks answers whose writer has been silent since `before` as partial, or failed if they have no text. The writer
    /// checkpoints every few seconds, so silence means that its process is gone.
    pub async fn close_abandoned(
        &self,
        before: DateTime<Utc>,
        ending: &Ending,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let done = timed_query!(
            self.0,
            sqlx::query!(
                "UPDATE messages SET status = CASE WHEN content = '' THEN 'failed' ELSE 'partial' END,
                     end_reason = $3, end_detail = $4, updated_at = $2
                 WHERE status = 'streaming' AND updated_at < $1",
                before,
                now,
                &*ending.reason,
                &*ending.detail
            ),
            execute
        )?;
        Ok(done.rows_affected())
    }
}
