//! JSON bodies that more than one route gives.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use domain::{
    account::{Organization, User},
    conversation::{Conversation, Message},
    ids::{ConversationId, MessageId, OrganizationId, UserId},
    page::Page,
    role::Role,
};

#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationBody {
    pub id: OrganizationId,
    pub name: String,
}

impl From<Organization> for OrganizationBody {
    fn from(organization: Organization) -> Self {
        Self {
            id: organization.id,
            name: organization.name,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UserBody {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub role: Role,
    pub organization: OrganizationBody,
    pub created_at: DateTime<Utc>,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            name: user.name,
            role: user.role,
            organization: user.organization.into(),
            created_at: user.created_at,
        }
    }
}

/// One page of a list. `next_cursor` is the `cursor` of the next page, null on the last.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    pub data: Vec<T>,
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    pub fn of<R: Into<T>>(page: Page<R>) -> Self {
        Self {
            data: page.rows.into_iter().map(Into::into).collect(),
            next_cursor: page.next.map(domain::page::Cursor::encode),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ConversationBody {
    pub id: ConversationId,
    pub title: String,
    /// The model last asked.
    pub model: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// One event of a stream, as the document describes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct ServerSentEvent {
    /// Absent under `/v1`.
    #[schema(required = false)]
    event: String,
    /// JSON, or `[DONE]` at the end of a stream under `/v1`.
    data: String,
}

/// What a conversation is called before its first message.
pub const UNTITLED: &str = "New conversation";

impl From<Conversation> for ConversationBody {
    fn from(conversation: Conversation) -> Self {
        Self {
            id: conversation.id,
            title: conversation.title.unwrap_or_else(|| UNTITLED.to_owned()),
            model: conversation.model,
            created_at: conversation.created_at,
            updated_at: conversation.updated_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MessageBody {
    pub id: MessageId,
    /// `user` or `assistant`.
    pub role: &'static str,
    pub content: String,
    /// What the model wrote before its answer; it is not sent to a model again.
    pub thoughts: Option<String>,
    pub model: Option<String>,
    /// `complete`; `partial` if it was stopped or broke off; `failed` if no text came; `streaming` while it is written.
    pub status: &'static str,
    /// Why there is no (more) text, such as `length`, `content_filter`, `provider_error`, `context_length` or `stopped`; null
    /// for an answer that ended by itself. There may be more words in future.
    pub reason: Option<Cow<'static, str>>,
    /// The same in a sentence for people.
    pub detail: Option<Cow<'static, str>>,
    /// Seconds after which another try is worth its while, where they are known.
    pub retry_after: Option<u32>,
    pub created_at: DateTime<Utc>,
}

impl From<Message> for MessageBody {
    fn from(message: Message) -> Self {
        let retry_after = message.ending.as_ref().and_then(|ending| ending.retry_after);
        let (reason, detail) = message.ending.map(|ending| (ending.reason, ending.detail)).unzip();
        Self {
            id: message.id,
            role: message.author.as_str(),
            content: message.content,
            thoughts: message.thoughts,
            model: message.model,
            status: message.status.as_str(),
            reason,
            detail,
            retry_after,
            created_at: message.created_at,
        }
    }
}
