//! Messages of conversations. The service has checked that the conversation belongs to the caller.

mod answers;

pub use answers::{BeginOutcome, NewAnswer};

use chrono::{DateTime, Utc};

use super::{Database, StoreError, timed_query};
use domain::{
    conversation::{Author, Ending, Message, MessageStatus},
    ids::{ConversationId, MessageId, OrganizationId},
    page::Cursor,
    thoughts,
};

#[derive(Clone)]
pub struct Messages(pub(super) Database);

/// The largest part of a conversation that is read at once.
#[derive(Debug, Clone, Copy)]
pub struct WindowLimit {
    pub messages: u32,
    /// Of text.
    pub bytes: u32,
}

/// A stored word that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown {column} {value:?}")]
struct UnknownWord {
    column: &'static str,
    value: String,
}

struct MessageRow {
    id: uuid::Uuid,
    author: String,
    content: String,
    thoughts: Option<String>,
    model: Option<String>,
    status: String,
    end_reason: Option<String>,
    end_detail: Option<String>,
    end_retry_after: Option<i64>,
    created_at: DateTime<Utc>,
}

impl TryFrom<MessageRow> for Message {
    type Error = StoreError;

    fn try_from(row: MessageRow) -> Result<Self, StoreError> {
        let unknown = |column, value| StoreError::corrupt(UnknownWord { column, value });
        let author = match row.author.as_str() {
            "user" => Author::User,
            "assistant" => Author::Assistant,
            _ => return Err(unknown("author", row.author)),
        };
        // Answers of earlier releases have their thoughts among their text.
        let (content, thoughts) = match (author, row.thoughts) {
            (Author::Assistant, None) => {
                let parts = thoughts::split(&row.content);
                (parts.text, Some(parts.thoughts).filter(|thoughts| !thoughts.is_empty()))
            }
            (_, thoughts) => (row.content, thoughts),
        };
        Ok(Self {
            id: row.id.into(),
            author,
            content,
            thoughts,
            model: row.model,
            status: match row.status.as_str() {
                "streaming" => MessageStatus::Streaming,
                "complete" => MessageStatus::Complete,
                "partial" => MessageStatus::Partial,
                "failed" => MessageStatus::Failed,
                _ => return Err(unknown("status", row.status)),
            },
            ending: row.end_reason.map(|reason| Ending {
                reason: reason.into(),
                detail: row.end_detail.unwrap_or_default().into(),
                retry_after: row.end_retry_after.and_then(|seconds| seconds.try_into().ok()),
            }),
            created_at: row.created_at,
        })
    }
}

impl Messages {
    /// The newest messages that stand, oldest first, of those before `before`: as many as fit both limits, and one at least.
    /// Also where those before them end, if there are any. PostgreSQL knows a text's length without reading the text, so
    /// what is not given is not read.
    pub async fn window(
        &self,
        organization: OrganizationId,
        conversation: ConversationId,
        before: Option<Cursor>,
        max: WindowLimit,
    ) -> Result<(Vec<Message>, Option<Cursor>), StoreError> {
        let before = before.unwrap_or(Cursor::END);
        let rows = timed_query!(
            self.0,
            sqlx::query!(
                r#"SELECT id, author, content, thoughts, model, status, end_reason, end_detail, end_retry_after, created_at,
                     earlier AS "earlier!" FROM (
                     SELECT id, author, content, thoughts, model, status, end_reason, end_detail, end_retry_after, created_at,
                         row_number() OVER newest AS place,
                         sum(octet_length(content) + COALESCE(octet_length(thoughts), 0)) OVER newest AS bytes,
                         lead(id) OVER newest IS NOT NULL AS earlier
                     FROM messages
                     WHERE organization_id = $1 AND conversation_id = $2 AND replaced_at IS NULL
                       AND (created_at, id) < ($3, $4)
                     WINDOW newest AS (ORDER BY created_at DESC, id DESC)
                     ORDER BY created_at DESC, id DESC LIMIT $5
                 ) counted WHERE bytes <= $6 OR place = 1
                 ORDER BY created_at, id"#,
                organization.0,
                conversation.0,
                before.time(),
                before.id,
                i64::from(max.messages),
                i64::from(max.bytes)
            ),
            fetch_all
        )?;
        let earlier = rows.first().filter(|oldest| oldest.earlier).map(|oldest| Cursor {
            micros: oldest.created_at.timestamp_micros(),
            id: oldest.id,
        });
        let messages = rows.into_iter().map(|row| {
            Message::try_from(MessageRow {
                id: row.id,
                author: row.author,
                content: row.content,
                thoughts: row.thoughts,
                model: row.model,
                status: row.status,
                end_reason: row.end_reason,
                end_detail: row.end_detail,
                end_retry_after: row.end_retry_after,
                created_at: row.created_at,
            })
        });
        Ok((messages.collect::<Result<_, _>>()?, earlier))
    }

    /// The last question, and the answers to it that stand, oldest first.
    pub async fn last_question(
        &self,
        organization: OrganizationId,
        conversation: ConversationId,
    ) -> Result<Option<(Message, Vec<MessageId>)>, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let question = sqlx::query_as!(
                    MessageRow,
                    "SELECT id, author, content, thoughts, model, status, end_reason, end_detail, end_retry_after, created_at
                     FROM messages
                     WHERE organization_id = $1 AND conversation_id = $2 AND replaced_at IS NULL AND author = 'user'
                     ORDER BY created_at DESC, id DESC LIMIT 1",
                    organization.0,
                    conversation.0
                )
                .fetch_optional(connection.get())
                .await?;
                let Some(question) = question else { return Ok(None) };
                let answers = sqlx::query_scalar!(
                    "SELECT id FROM messages
                     WHERE organization_id = $1 AND conversation_id = $2 AND replaced_at IS NULL
                       AND (created_at, id) > ($3, $4)
                     ORDER BY created_at, id",
                    organization.0,
                    conversation.0,
                    question.created_at,
                    question.id
                )
                .fetch_all(connection.get())
                .await?;
                Ok(Some((question, answers)))
            })
            .await;
        connection
            .settle(outcome)?
            .map(|(question, answers)| {
                let answers = answers.into_iter().map(MessageId).collect();
                Ok((Message::try_from(question)?, answers))
            })
            .transpose()
    }
}
