//! `/api/conversations`: the caller's conversations. Their answers are in [`super::answers`].

use axum::{Json as JsonBody, extract::State, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{ConversationBody, List, MessageBody},
    extract::{Id, Json, PageQuery, Parameters},
};
use crate::{
    auth::extract::CurrentUser,
    domain::ids::ConversationId,
    failure::Failure,
    service::conversations::{ConversationChange, Conversations},
};

/// Absent fields stay as they are, or empty in a new conversation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConversationChangeBody {
    #[schema(min_length = 1, max_length = 200)]
    title: Option<String>,
    /// Id of a chat model.
    model: Option<String>,
}

impl From<ConversationChangeBody> for ConversationChange {
    fn from(body: ConversationChangeBody) -> Self {
        Self {
            title: body.title,
            model: body.model,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ConversationWithMessages {
    #[serde(flatten)]
    conversation: ConversationBody,
    /// The newest 1,000, oldest first.
    messages: Vec<MessageBody>,
}

/// Begin a conversation.
#[utoipa::path(post, path = "/api/conversations", tag = "Conversations", request_body = ConversationChangeBody, responses((status = 201, description = "The conversation", body = ConversationBody)))]
pub async fn create(
    State(conversations): State<Conversations>,
    CurrentUser(caller): CurrentUser,
    Json(body): Json<ConversationChangeBody>,
) -> Result<impl IntoResponse, Failure> {
    let conversation = conversations.create(&caller, body.into()).await?;
    Ok((StatusCode::CREATED, JsonBody(ConversationBody::from(conversation))))
}

/// The caller's conversations, most recently used first.
#[utoipa::path(get, path = "/api/conversations", tag = "Conversations", params(PageQuery), responses((status = 200, description = "Conversations", body = List<ConversationBody>)))]
pub async fn list(
    State(conversations): State<Conversations>,
    CurrentUser(caller): CurrentUser,
    Parameters(page): Parameters<PageQuery>,
) -> Result<JsonBody<List<ConversationBody>>, Failure> {
    Ok(JsonBody(List::of(conversations.list(&caller, page.read()?).await?)))
}

/// One conversation with its messages.
#[utoipa::path(get, path = "/api/conversations/{id}", tag = "Conversations", params(("id" = ConversationId, Path)), responses((status = 200, description = "The conversation", body = ConversationWithMessages)))]
pub async fn get(
    State(conversations): State<Conversations>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<ConversationId>,
) -> Result<JsonBody<ConversationWithMessages>, Failure> {
    let (conversation, messages) = conversations.read(&caller, id).await?;
    Ok(JsonBody(ConversationWithMessages {
        conversation: conversation.into(),
        messages: messages.into_iter().map(MessageBody::from).collect(),
    }))
}

/// Rename a conversation or choose another model for it.
#[utoipa::path(patch, path = "/api/conversations/{id}", tag = "Conversations", params(("id" = ConversationId, Path)), request_body = ConversationChangeBody, responses((status = 200, description = "The conversation as it is now", body = ConversationBody)))]
pub async fn change(
    State(conversations): State<Conversations>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<ConversationId>,
    Json(body): Json<ConversationChangeBody>,
) -> Result<JsonBody<ConversationBody>, Failure> {
    Ok(JsonBody(conversations.change(&caller, id, body.into()).await?.into()))
}

/// Delete a conversation with its messages.
#[utoipa::path(delete, path = "/api/conversations/{id}", tag = "Conversations", params(("id" = ConversationId, Path)), responses((status = 204, description = "Deleted")))]
pub async fn delete(
    State(conversations): State<Conversations>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<ConversationId>,
) -> Result<StatusCode, Failure> {
    conversations.delete(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
