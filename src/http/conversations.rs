//! `/api/conversations`: the caller's conversations. Their answers are in [`super::answers`].

use axum::{Json as JsonBody, extract::State, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    body::{ConversationBody, List, MessageBody},
    extract::{Id, Json, PageQuery, Parameters, read_cursor},
};
use crate::{api_error::ApiError, auth::extract::CurrentUser};
use domain::{ids::ConversationId, page::Cursor};
use people::conversations::{ConversationChange, Conversations, READ_LIMIT};

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
    /// Oldest first: the newest 1,000, or those before `cursor`; fewer if their text comes to more than 2 MiB.
    messages: Vec<MessageBody>,
    /// The `cursor` of the messages before these; null if these go back to the first.
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EarlierQuery {
    /// `next_cursor` of the part after.
    #[param(required = false)]
    cursor: Option<String>,
}

/// Begin a conversation.
#[utoipa::path(post, path = "/api/conversations", tag = "Conversations", request_body = ConversationChangeBody, responses(
    (status = 201, description = "The conversation", body = ConversationBody),
    (status = 409, description = "There are as many as there may be", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn create(
    State(conversations): State<Conversations>,
    CurrentUser(caller): CurrentUser,
    Json(body): Json<ConversationChangeBody>,
) -> Result<impl IntoResponse, ApiError> {
    let conversation = conversations.create(&caller, body.into()).await?;
    Ok((StatusCode::CREATED, JsonBody(ConversationBody::from(conversation))))
}

/// The caller's conversations, most recently used first.
#[utoipa::path(get, path = "/api/conversations", tag = "Conversations", params(PageQuery), responses((status = 200, description = "Conversations", body = List<ConversationBody>)))]
pub async fn list(
    State(conversations): State<Conversations>,
    CurrentUser(caller): CurrentUser,
    Parameters(page): Parameters<PageQuery>,
) -> Result<JsonBody<List<ConversationBody>>, ApiError> {
    Ok(JsonBody(List::of(conversations.list(&caller, page.read()?).await?)))
}

/// One conversation with its messages, the newest first to be given.
#[utoipa::path(get, path = "/api/conversations/{id}", tag = "Conversations", params(("id" = ConversationId, Path), EarlierQuery), responses((status = 200, description = "The conversation", body = ConversationWithMessages)))]
pub async fn get(
    State(conversations): State<Conversations>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<ConversationId>,
    Parameters(query): Parameters<EarlierQuery>,
) -> Result<JsonBody<ConversationWithMessages>, ApiError> {
    let before = read_cursor(query.cursor.as_deref())?;
    let part = conversations.read(&caller, id, before, READ_LIMIT).await?;
    Ok(JsonBody(ConversationWithMessages {
        conversation: part.conversation.into(),
        messages: part.messages.into_iter().map(MessageBody::from).collect(),
        next_cursor: part.earlier.map(Cursor::encode),
    }))
}

/// Rename a conversation or choose another model for it.
#[utoipa::path(patch, path = "/api/conversations/{id}", tag = "Conversations", params(("id" = ConversationId, Path)), request_body = ConversationChangeBody, responses((status = 200, description = "The conversation as it is now", body = ConversationBody)))]
pub async fn change(
    State(conversations): State<Conversations>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<ConversationId>,
    Json(body): Json<ConversationChangeBody>,
) -> Result<JsonBody<ConversationBody>, ApiError> {
    Ok(JsonBody(conversations.change(&caller, id, body.into()).await?.into()))
}

/// Delete a conversation with its messages.
#[utoipa::path(delete, path = "/api/conversations/{id}", tag = "Conversations", params(("id" = ConversationId, Path)), responses((status = 204, description = "Deleted")))]
pub async fn delete(
    State(conversations): State<Conversations>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<ConversationId>,
) -> Result<StatusCode, ApiError> {
    conversations.delete(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
