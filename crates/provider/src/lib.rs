//! The upstreams: one trait, one folder per vendor, and the registry that routes a model to its provider.
//!
//! Bodies go through as bytes. A provider is handed a request that is already right for the upstream (model name
//! replaced, usage asked for) and gives back what the upstream sent, within its timeouts.

pub mod error;
pub mod health_window;
pub mod local;
pub mod local_servers;
pub mod mock;
pub mod openai;
pub mod registry;

use std::{
    borrow::Cow,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};
use http::{HeaderMap, HeaderValue, StatusCode};

use concurrency::memory::Allowance;
use configuration::ProviderConfig;
pub use error::ProviderError;
use llm::Endpoint;
use registry::ProviderSetupError;
pub use registry::Registry;

/// Whether anything of a call has been sent to the upstream: until then it has cost nothing.
#[derive(Debug, Clone, Default)]
pub struct SentMark(Arc<AtomicBool>);

impl SentMark {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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
    /// Set by the provider before it sends the first byte.
    pub sent: SentMark,
    /// What a whole answer, and what a stream holds, is counted against; nothing is not counted.
    pub memory: Option<Allowance>,
}

/// What a reader has found in a stream, which decides how long the next pause may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The first text of the answer. What comes before it, such as the role or comments, is a greeting: models greet, and then
    /// think for a minute.
    Content,
    /// A finish reason: only usage and the last mark may follow.
    Finished,
}

/// Server-sent events as they come. It takes whoever reads them to know what they say.
pub trait Events: Stream<Item = Result<Bytes, ProviderError>> {
    /// The reader has come so far.
    fn reached(self: Pin<&mut Self>, stage: Stage);
}

/// Whole server-sent events, as received but for framing that readers do not understand: every item ends at an event
/// boundary. One of more than [`UNCOUNTED`](concurrency::memory::UNCOUNTED) bytes is counted for as long as anybody holds it. Among them are comments of
/// ours, while the upstream says nothing. Dropping the stream closes the upstream connection.
pub type EventStream = Pin<Box<dyn Events + Send>>;

/// Room for the headers of an answer, those that the edge adds included, so that the map is made once.
pub const MAX_HEADERS: usize = 12;

/// What the upstream answered. `headers` holds only those that are meant for the caller (content type, retry-after,
/// the provider's own request id and time), never hop-by-hop ones.
pub enum ProviderReply {
    /// A complete answer, 2xx or 4xx: JSON, or under 2xx events, which are recognised by their first bytes. A 4xx holds nothing of
    /// our credentials.
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    /// A 2xx with a body of server-sent events, under whatever content type.
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

    /// An error that the upstream told of, without keys and ids of ours.
    fn redacted<'a>(&self, error: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(error)
    }

    /// Takes up another key or other headers for calls from now on.
    fn rotate(&self, config: &ProviderConfig) -> Result<(), ProviderSetupError>;

    /// Which of several servers behind this provider answers now, by which its answers are remembered; nothing while what it answers
    /// is not to be remembered. Most have one, which their configuration names.
    fn edition(&self) -> Option<u64> {
        Some(0)
    }

    /// The upstream's own model ids, by its free list request.
    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ProviderError>>;
}
