//! The built-in development models: deterministic, without a network, at a pace like a real model's.
//!
//! For development and tests only; staging and production refuse to start with it. A directive in the last message of
//! the user makes it misbehave on purpose, see [`directive`].

mod answer;
mod directive;
mod embedding;

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Capabilities, Endpoint, EventStream, Events, Origin, Provider, ProviderError, ProviderReply, ProviderRequest,
    Stage,
    frames::{Frames, as_they_are},
    registry::ProviderSetupError,
};
use answer::{MockAnswer, Part};
use configuration::ProviderConfig;
use directive::Directives;

pub struct MockProvider {
    name: String,
    first_token_delay: Duration,
    token_delay: Duration,
    first_byte_timeout: Duration,
    chunk_timeout: Duration,
    total_timeout: Duration,
}

/// A request that a real server would refuse too.
struct Refusal {
    message: String,
    param: &'static str,
}

impl Refusal {
    fn new(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            param,
        }
    }
}

impl MockProvider {
    pub fn new(name: &str, config: &ProviderConfig) -> Self {
        Self {
            name: name.to_owned(),
            first_token_delay: config.first_token_delay,
            token_delay: config.token_delay,
            first_byte_timeout: config.first_byte_timeout,
            chunk_timeout: config.chunk_timeout,
            total_timeout: config.total_timeout,
        }
    }

    /// An answer in a real model's place, which `note` says in its last sentence.
    pub(super) async fn canned(&self, request: ProviderRequest, note: &str) -> Result<ProviderReply, ProviderError> {
        self.answer(request, Some(note)).await
    }

    async fn answer(&self, request: ProviderRequest, note: Option<&str>) -> Result<ProviderReply, ProviderError> {
        request.sent.set();
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return Ok(refused(&Refusal::new("body", "the body is not valid JSON")));
        };
        match request.endpoint {
            Endpoint::Embeddings => {
                sleep(self.token_delay).await;
                Ok(embedding::answer(&body)
                    .map_or_else(|refusal| refused(&refusal), |answer| whole(StatusCode::OK, &answer)))
            }
            Endpoint::ChatCompletions => self.chat(&body, request.stream, request.choices, note).await,
        }
    }

    async fn chat(
        &self,
        body: &Value,
        streamed: bool,
        choices: u32,
        note: Option<&str>,
    ) -> Result<ProviderReply, ProviderError> {
        let answer = match MockAnswer::of(body, note) {
            Ok(answer) => answer,
            Err(refusal) => return Ok(refused(&refusal)),
        };
        let directives = Directives::of(&answer.question);
        if let Some(status) = directives.status {
            let message = format!("the development model was told to answer {status}");
            if status.is_server_error() || status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
                return Err(ProviderError::Status(status));
            }
            return Ok(whole(status, &error(&message)));
        }
        let deadline = Instant::now() + self.total_timeout;
        if directives.stall {
            let limit = self.first_byte_timeout;
            return Err(stall(
                limit,
                ProviderError::FirstByteTimeout(limit),
                deadline,
                self.total_timeout,
            )
            .await);
        }
        sleep(self.first_token_delay).await;
        let delay = directives.delay.unwrap_or(self.token_delay);
        let answer = answer.sized(directives.tokens);
        if streamed {
            let events = self.stream(&answer, directives, delay, deadline);
            return Ok(ProviderReply::Stream {
                headers: content_type("text/event-stream"),
                frames: Box::pin(Frames::new(events, choices, as_they_are, Box::new(<[u8]>::to_vec))),
            });
        }
        let pieces = u32::try_from(answer.parts.len()).unwrap_or(u32::MAX);
        take(delay.saturating_mul(pieces), deadline, self.total_timeout).await?;
        if directives.break_after.is_some() {
            return Err(broken_off());
        }
        Ok(whole(StatusCode::OK, &answer.whole()))
    }

    fn stream(&self, answer: &MockAnswer, directives: Directives, delay: Duration, deadline: Instant) -> EventStream {
        let (chunk, total) = (self.chunk_timeout, self.total_timeout);
        let parts = answer.events();
        Box::pin(Untimed(Box::pin(stream::iter(parts.into_iter().enumerate()).then(
            move |(index, (part, event))| async move {
                if directives.break_after == Some(index) {
                    return Err(broken_off());
                }
                if directives.stall_after == Some(index) {
                    return Err(stall(chunk, ProviderError::ChunkTimeout(chunk), deadline, total).await);
                }
                if part == Part::Text {
                    take(delay, deadline, total).await?;
                }
                Ok(event)
            },
        ))))
    }
}

/// A stream that keeps its limits by itself, wherever its reader is.
struct Untimed<S>(Pin<Box<S>>);

impl<S: Stream> Stream for Untimed<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl<S: Stream<Item = Result<Bytes, ProviderError>>> Events for Untimed<S> {
    fn reached(self: Pin<&mut Self>, _: Stage) {}
}

impl Provider for MockProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            origin: Origin::MadeUp,
            ..Capabilities::OPENAI
        }
    }

    fn send(&self, request: ProviderRequest) -> BoxFuture<'_, Result<ProviderReply, ProviderError>> {
        Box::pin(self.answer(request, None))
    }

    fn rotate(&self, _: &ProviderConfig) -> Result<(), ProviderSetupError> {
        Ok(())
    }
}

/// Takes the time that a model would, within the limit on the whole call.
async fn take(time: Duration, deadline: Instant, total: Duration) -> Result<(), ProviderError> {
    if time.is_zero() {
        return Ok(());
    }
    timeout_at(deadline, sleep(time))
        .await
        .map_err(|_| ProviderError::TotalTimeout(total))
}

/// Says nothing until a real upstream's time would be up.
async fn stall(limit: Duration, error: ProviderError, deadline: Instant, total: Duration) -> ProviderError {
    take(limit, deadline, total).await.err().unwrap_or(error)
}

fn broken_off() -> ProviderError {
    ProviderError::BrokenOff("the development model was told to break off".into())
}

fn content_type(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))])
}

fn whole(status: StatusCode, body: &Value) -> ProviderReply {
    ProviderReply::Whole {
        status,
        headers: content_type("application/json"),
        body: Bytes::from(body.to_string()),
    }
}

fn error(message: &str) -> Value {
    json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}})
}

fn refused(refusal: &Refusal) -> ProviderReply {
    ProviderReply::refused(&refusal.message, Some(refusal.param))
}

/// A number that is the same for the same text, everywhere and always (FNV-1a).
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
