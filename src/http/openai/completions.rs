//! `/v1/chat/completions` and `/v1/embeddings`: bodies go through as they are, in both directions.

use std::{
    task::{Poll, ready},
    time::Duration,
};

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{
    api_error::ApiError,
    auth::extract::ApiCaller,
    http::{edge::RequestContext, extract::JsonBytes, render::OpenAiError},
};
use gateway::completions::{AnswerStream, CacheDirectives, CacheStatus, Call, CallResponse, Completions};
use llm::Endpoint;

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
) -> Result<Response, ApiError> {
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
) -> Result<Response, ApiError> {
    call(Endpoint::Embeddings, &completions, caller, context, body).await
}

pub(in crate::http) async fn call(
    endpoint: Endpoint,
    completions: &Completions,
    ApiCaller(principal): ApiCaller,
    context: RequestContext,
    JsonBytes(body): JsonBytes,
) -> Result<Response, ApiError> {
    let call = Call {
        endpoint,
        principal,
        body,
        traceparent: context.traceparent,
        arrived: context.arrived,
        cache_directives: cache_directives(context.cache_control.as_ref()),
    };
    let answered = completions.call(call).await?;
    // Put together here, since `into_response` would make a second map and move the headers over.
    let (status, mut headers, body) = match answered.answer {
        CallResponse::Whole { status, headers, body } => (status, headers, Body::from(body)),
        CallResponse::Stream { mut headers, events } => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
            (StatusCode::OK, headers, Body::from_stream(until_error(events)))
        }
    };
    headers.insert(X_MAPLE_CACHE, HeaderValue::from_static(answered.cache.as_str()));
    if let CacheStatus::Hit { age } = answered.cache {
        headers.insert(header::AGE, age.as_secs().into());
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const X_MAPLE_CACHE: HeaderName = HeaderName::from_static("x-maple-cache");

/// Reads `Cache-Control` of a request. What it does not know it ignores, as RFC 9111 wants; so it does with a max-age that
/// is no number.
fn cache_directives(header: Option<&HeaderValue>) -> CacheDirectives {
    let mut cache_directives = CacheDirectives::default();
    let Some(text) = header.and_then(|header| header.to_str().ok()) else {
        return cache_directives;
    };
    for directive in text.split(',').map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.to_ascii_lowercase().as_str() {
            "no-cache" => cache_directives.reload = true,
            "no-store" => cache_directives.no_store = true,
            "max-age" => {
                let seconds = value.trim_matches('"').parse().ok();
                cache_directives.max_age = seconds.map(Duration::from_secs).or(cache_directives.max_age);
            }
            _ => {}
        }
    }
    cache_directives
}

/// A stream that fails says so in a last event, which OpenAI's clients raise as an error, and then ends.
fn until_error(mut events: AnswerStream) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::poll_fn(move |context| {
        let item = ready!(events.poll_bytes(context));
        let bytes = item.map(|item| item.unwrap_or_else(|error| last_event(&ApiError::from(error))));
        Poll::Ready(bytes.map(Ok))
    })
}

fn last_event(error: &ApiError) -> Bytes {
    let body = serde_json::to_string(&OpenAiError::new(error)).unwrap_or_default();
    Bytes::from(format!("data: {body}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::cache_directives;
    use gateway::completions::CacheDirectives;
    use http::HeaderValue;
    use std::time::Duration;

    #[test]
    fn request_directives() {
        let read = |text: &'static str| cache_directives(Some(&HeaderValue::from_static(text)));
        let fresh = CacheDirectives::default();
        assert_eq!(cache_directives(None), fresh);
        assert_eq!(read("NO-cache"), CacheDirectives { reload: true, ..fresh });
        assert_eq!(
            read("max-age=\"60\" , no-store"),
            CacheDirectives {
                no_store: true,
                max_age: Some(Duration::from_mins(1)),
                ..fresh
            }
        );
        assert_eq!(read("max-age=x, only-if-cached,,"), fresh);
    }
}
