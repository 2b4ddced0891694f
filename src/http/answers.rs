//! Asking in a conversation: the answer comes as server-sent events.

mod events;

use std::time::Duration;

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{KeepAlive, Sse},
    },
};
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::{
    edge::RequestContext,
    extract::{Id, Json},
};
use crate::{api_error::ApiError, auth::extract::CurrentUser};
use domain::ids::{ConversationId, OrganizationId};
use people::answers::{AnswerEvent, Answers};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuestionBody {
    #[schema(min_length = 1, max_length = 200_000)]
    content: String,
    /// Id of a chat model; if absent the one last used in the conversation, or the first of the catalogue.
    model: Option<String>,
    /// Send `render` events with the answer so far as safe HTML.
    #[serde(default)]
    render: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegenerateBody {
    model: Option<String>,
    #[serde(default)]
    render: bool,
}

/// Ask a question. Events: `message` (the stored question and the answer's place), `reading` (tokens of the prompt
/// that are read, of how many in `total`, where the model says so), `thoughts` and `delta` (text), `render`
/// (HTML, if asked for), then `done` or `error`; both carry the stored message, and `reason`, `detail` and `retry_after` where
/// there is something to tell. Ending the connection stops the answer; what there is of it is kept. One answer at a time is
/// written in a conversation; deleting it ends the answer.
#[utoipa::path(post, path = "/api/conversations/{id}/messages", tag = "Conversations", params(("id" = ConversationId, Path)), request_body = QuestionBody, responses(
    (status = 200, description = "The answer as server-sent events", body = crate::http::body::ServerSentEvent, content_type = "text/event-stream"),
    (status = 409, description = "An answer is being written in the conversation, or something else was asked meanwhile", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn ask(
    State(answers): State<Answers>,
    CurrentUser(caller): CurrentUser,
    context: RequestContext,
    Id(id): Id<ConversationId>,
    Json(body): Json<QuestionBody>,
) -> Result<Response, ApiError> {
    let events = answers.ask(&caller, id, &body.content, body.model).await?;
    Ok(respond(events, body.render.then_some(caller.organization), &context))
}

/// Ask for the last answer again. The same events; `user` is null in the first.
#[utoipa::path(post, path = "/api/conversations/{id}/regenerate", tag = "Conversations", params(("id" = ConversationId, Path)), request_body = RegenerateBody, responses(
    (status = 200, description = "The answer as server-sent events", body = crate::http::body::ServerSentEvent, content_type = "text/event-stream"),
    (status = 409, description = "The conversation has no question yet, or an answer is being written in it", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn regenerate(
    State(answers): State<Answers>,
    CurrentUser(caller): CurrentUser,
    context: RequestContext,
    Id(id): Id<ConversationId>,
    Json(body): Json<RegenerateBody>,
) -> Result<Response, ApiError> {
    let events = answers.regenerate(&caller, id, body.model).await?;
    Ok(respond(events, body.render.then_some(caller.organization), &context))
}

/// `render` is whose answer it is, if it is to be rendered.
fn respond(events: mpsc::Receiver<AnswerEvent>, render: Option<OrganizationId>, context: &RequestContext) -> Response {
    let events = Sse::new(events::of(events, render, context.id.as_str().to_owned()))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)));
    let mut response = events.into_response();
    // nginx would hold chunks back otherwise.
    response
        .headers_mut()
        .insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    response
}
