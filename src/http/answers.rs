//! Asking in a conversation: the answer comes as server-sent events.

use std::{
    borrow::Cow,
    convert::Infallible,
    time::{Duration, Instant},
};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::{
    body::MessageBody,
    edge::RequestContext,
    extract::{Id, Json},
    render::Problem,
};
use crate::{
    auth::extract::CurrentUser,
    domain::{conversation::Message, ids::ConversationId, tokens::TokenUsage},
    failure::Failure,
    service::answers::{AnswerEvent, Answers},
    web::markdown,
};

/// Between two renderings of a growing answer: smooth to the eye, cheap for both ends.
const RENDER_INTERVAL: Duration = Duration::from_millis(150);
/// Beyond this, in bytes, a growing answer is rendered only once more, at its end: rendering starts over each time.
const RENDER_WHILE_BELOW: usize = 64 * 1024;

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

#[derive(Serialize)]
struct Started {
    user: Option<MessageBody>,
    assistant: MessageBody,
}

/// `reason`, `detail` and `retry_after` are the message's, for readers who look no further.
#[derive(Serialize)]
struct Done {
    reason: Option<Cow<'static, str>>,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<u32>,
    message: MessageBody,
    html: Option<String>,
    usage: UsageBody,
}

/// A problem document that also says what is stored.
#[derive(Serialize)]
struct Broken<'a> {
    #[serde(flatten)]
    problem: Problem<'a>,
    reason: Option<Cow<'static, str>>,
    retry_after: Option<u32>,
    message: MessageBody,
    html: Option<String>,
}

#[derive(Serialize)]
struct UsageBody {
    input_tokens: u64,
    output_tokens: u64,
}

impl From<TokenUsage> for UsageBody {
    fn from(tokens: TokenUsage) -> Self {
        Self {
            input_tokens: tokens.input,
            output_tokens: tokens.output,
        }
    }
}

/// Ask a question. Events: `message` (the stored question and the answer's place), `thoughts` and `delta` (text), `render`
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
) -> Result<Response, Failure> {
    let events = answers.ask(&caller, id, &body.content, body.model).await?;
    Ok(respond(events, body.render, &context))
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
) -> Result<Response, Failure> {
    let events = answers.regenerate(&caller, id, body.model).await?;
    Ok(respond(events, body.render, &context))
}

fn respond(events: mpsc::Receiver<AnswerEvent>, render: bool, context: &RequestContext) -> Response {
    let events = Sse::new(to_events(events, render, context.id.as_str().to_owned()))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)));
    let mut response = events.into_response();
    // nginx would hold chunks back otherwise.
    response
        .headers_mut()
        .insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    response
}

struct Rendering {
    on: bool,
    text: String,
    thoughts: String,
    last: Instant,
    request_id: String,
}

fn to_events(
    receiver: mpsc::Receiver<AnswerEvent>,
    render: bool,
    request_id: String,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let rendering = Rendering {
        on: render,
        text: String::new(),
        thoughts: String::new(),
        last: Instant::now(),
        request_id,
    };
    stream::unfold((receiver, rendering), |(mut receiver, mut rendering)| async move {
        let event = receiver.recv().await?;
        let events = rendering.events_of(event).await;
        Some((stream::iter(events), (receiver, rendering)))
    })
    .flatten()
    .map(Ok)
}

impl Rendering {
    async fn events_of(&mut self, event: AnswerEvent) -> Vec<Event> {
        match event {
            AnswerEvent::Started { question, answer } => {
                vec![named(
                    "message",
                    &Started {
                        user: question.map(Into::into),
                        assistant: answer.into(),
                    },
                )]
            }
            AnswerEvent::Delta(text) => {
                let mut events = vec![named("delta", &serde_json::json!({ "text": text }))];
                if self.on {
                    self.text.push_str(&text);
                    if self.last.elapsed() >= RENDER_INTERVAL
                        && self.text.len() <= RENDER_WHILE_BELOW
                        && let Some(html) = markdown::render_if_idle(self.text.clone()).await
                    {
                        let html = markdown::thoughts(&self.thoughts) + &html;
                        events.push(named("render", &serde_json::json!({ "html": html })));
                        self.last = Instant::now();
                    }
                }
                events
            }
            AnswerEvent::Thoughts(text) => {
                self.thoughts.push_str(&text);
                vec![named("thoughts", &serde_json::json!({ "text": text }))]
            }
            AnswerEvent::Done { answer, tokens } => {
                let html = self.html_of(&answer).await;
                let message = MessageBody::from(answer);
                let done = Done {
                    reason: message.reason.clone(),
                    detail: message.detail.clone(),
                    retry_after: message.retry_after,
                    message,
                    html,
                    usage: tokens.into(),
                };
                vec![named("done", &done)]
            }
            AnswerEvent::Failed { answer, error } => {
                let html = self.html_of(&answer).await;
                let message = MessageBody::from(answer);
                let failure = Failure::from(error);
                let broken = Broken {
                    problem: Problem::new(&failure, &self.request_id),
                    reason: message.reason.clone(),
                    retry_after: message.retry_after,
                    message,
                    html,
                };
                vec![named("error", &broken)]
            }
        }
    }

    /// All of the answer, if its reader wants it so.
    async fn html_of(&self, answer: &Message) -> Option<String> {
        if !self.on {
            return None;
        }
        let thoughts = answer.thoughts.as_deref().map(markdown::thoughts).unwrap_or_default();
        let html = markdown::render(vec![answer.content.clone()]).await.pop()?;
        Some(thoughts + &html)
    }
}

fn named(name: &'static str, data: &impl Serialize) -> Event {
    // Only strings and numbers: nothing in it can fail to serialise.
    Event::default().event(name).json_data(data).unwrap_or_default()
}
