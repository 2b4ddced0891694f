//! `/v1/chat/completions` and `/v1/embeddings`: bodies go through as they are, in both directions.

use std::pin::Pin;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderName, HeaderValue, header};

use crate::{
    auth::extract::ApiCaller,
    failure::Failure,
    http::{edge::RequestContext, extract::JsonBytes, render::OpenAiError},
    provider::Endpoint,
    service::completions::{Answer, Call, Completions, MeteredStream},
};

/// Answer a chat, whole or, with `"stream": true`, as server-sent events. Every field of OpenAI's API is passed on.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "OpenAI API",
    request_body(content = Object, description = "As in OpenAI's API. Read here: `model`, `stream`, `stream_options`; the rest is the provider's."),
    responses(
    (status = 200, description = "The provider's answer: a `chat.completion`, or `chat.completion.chunk` events", content((Object = "application/json"), (crate::http::body::ServerSentEvent = "text/event-stream"))),
    (status = 404, description = "There is no such model", body = crate::http::render::OpenAiError),
    (status = 422, description = "Refused by the provider", body = Object),
    (status = 429, description = "Too many requests, here or at the provider; see Retry-After", body = crate::http::render::OpenAiError),
    (status = 502, description = "The provider could not be reached or failed", body = crate::http::render::OpenAiError),
    (status = 504, description = "The provider took too long", body = crate::http::render::OpenAiError),
))]
pub async fn chat(
    State(completions): State<Completions>,
    caller: ApiCaller,
    context: RequestContext,
    body: JsonBytes,
) -> Result<Response, Failure> {
    call(Endpoint::ChatCompletions, &completions, caller, context, body).await
}

/// Embed texts. Every field of OpenAI's API is passed on.
#[utoipa::path(post, path = "/v1/embeddings", tag = "OpenAI API",
    request_body(content = Object, description = "As in OpenAI's API. Read here: `model`; the rest is the provider's."),
    responses(
    (status = 200, description = "The provider's answer", body = Object),
    (status = 404, description = "There is no such model", body = crate::http::render::OpenAiError),
    (status = 422, description = "Refused by the provider", body = Object),
    (status = 429, description = "Too many requests, here or at the provider; see Retry-After", body = crate::http::render::OpenAiError),
    (status = 502, description = "The provider could not be reached or failed", body = crate::http::render::OpenAiError),
    (status = 504, description = "The provider took too long", body = crate::http::render::OpenAiError),
))]
pub async fn embeddings(
    State(completions): State<Completions>,
    caller: ApiCaller,
    context: RequestContext,
    body: JsonBytes,
) -> Result<Response, Failure> {
    call(Endpoint::Embeddings, &completions, caller, context, body).await
}

async fn call(
    endpoint: Endpoint,
    completions: &Completions,
    ApiCaller(account): ApiCaller,
    context: RequestContext,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Failure> {
    let call = Call {
        endpoint,
        account,
        body,
        traceparent: context.traceparent,
        arrived: context.arrived,
    };
    Ok(match completions.call(call).await? {
        Answer::Whole { status, headers, body } => (status, headers, body).into_response(),
        Answer::Stream { mut headers, events } => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(
                HeaderName::from_static("x-accel-buffering"),
                HeaderValue::from_static("no"),
            );
            (headers, Body::from_stream(until_error(events))).into_response()
        }
    })
}

/// A stream that fails says so in a last event, which OpenAI's clients raise as an error, and then ends.
fn until_error(events: Pin<Box<MeteredStream>>) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::unfold(events, |mut events| async move {
        let item = match events.next().await? {
            Ok(item) => item,
            Err(error) => last_event(&Failure::from(error)),
        };
        Some((Ok(item), events))
    })
}

fn last_event(failure: &Failure) -> Bytes {
    let body = serde_json::to_string(&OpenAiError::new(failure)).unwrap_or_default();
    Bytes::from(format!("data: {body}\n\n"))
}
