//! The upstreams: one trait, one folder per vendor, and the registry that routes a model to its provider.
//!
//! Bodies go through as bytes. A provider is handed a request that is already right for the upstream (model name
//! replaced, usage asked for) and gives back what the upstream sent, within its timeouts.

pub mod error;
pub mod mock;
pub mod openai;
pub mod outcomes;
pub mod registry;
pub mod sse;

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::config::ProviderConfig;
pub use error::ProviderError;
use registry::ProviderSetupError;
pub use registry::Registry;

/// Which upstream operation is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    ChatCompletions,
    Embeddings,
}

impl Endpoint {
    /// OpenTelemetry's name for it.
    pub fn operation(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat",
            Self::Embeddings => "embeddings",
        }
    }

    /// Below the provider's base URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Embeddings => "/embeddings",
        }
    }
}

/// One call, ready for the upstream.
#[derive(Debug, Clone)]
pub struct ProviderRequest {
    pub endpoint: Endpoint,
    /// JSON in the OpenAI form.
    pub body: Bytes,
    /// Whether the body asks for a stream.
    pub stream: bool,
    /// W3C trace context to pass on.
    pub traceparent: Option<HeaderValue>,
}

/// Whole server-sent events, as received: every item ends at an event boundary and is passed on unchanged.
/// Dropping the stream closes the upstream connection.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Bytes, ProviderError>> + Send>>;

/// Room for the headers of an answer, those that the edge adds included, so that the map is made once.
pub const MOST_HEADERS: usize = 12;

/// What the upstream answered. `headers` holds only those that are meant for the caller (content type, retry-after,
/// the provider's rate-limit and request-id headers), never hop-by-hop ones.
pub enum ProviderReply {
    /// A complete answer, 2xx or 4xx.
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    /// A 200 with `text/event-stream`.
    Events { headers: HeaderMap, events: EventStream },
}

/// An upstream that speaks the OpenAI API, or pretends to.
///
/// Cancellation: dropping the returned future or the event stream ends the upstream call at once.
pub trait Provider: Send + Sync {
    /// The name in the configuration, which is also the metric label.
    fn name(&self) -> &str;

    /// Answers within the provider's configured timeouts. A 5xx of the upstream is an error, a 4xx a reply.
    fn send(&self, request: ProviderRequest) -> BoxFuture<'_, Result<ProviderReply, ProviderError>>;

    /// Takes up another key or other headers for calls from now on.
    fn rotate(&self, config: &ProviderConfig) -> Result<(), ProviderSetupError>;

    /// The upstream's own model ids, by its free list request.
    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ProviderError>>;
}
