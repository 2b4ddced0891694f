//! The upstreams: one trait, one folder per vendor, and the registry that routes a model to its provider.
//!
//! Bodies pass as bytes, in OpenAI's form: a request in which the model already has the upstream's name and usage is asked for, and
//! the upstream's response, within its timeouts. A provider whose server speaks another API converts both within [`Provider::send`].

mod capabilities;
pub mod error;
mod exchange;
pub mod frames;
pub mod health_window;
pub mod local;
pub mod local_servers;
pub mod mock;
pub mod openai;
pub mod registry;
mod request;
mod transport;

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

pub use capabilities::{Capabilities, Origin};
use configuration::ProviderConfig;
pub use error::ProviderError;
pub use frames::FrameStream;
pub use llm::outbound::openai::frames::Stage;
use llm::{Endpoint, inbound::openai::BadRequest};
use registry::ProviderSetupError;
pub use registry::Registry;
pub use request::{ProviderRequest, SentMark};

/// Server-sent events as they come, before they are made into frames.
pub(crate) trait Events: Stream<Item = Result<Bytes, ProviderError>> {
    /// Reports the stage that the answer has reached.
    fn reached(self: Pin<&mut Self>, stage: Stage);
}

/// Whole server-sent events, as received except for framing that readers do not understand: every item ends at an event
/// boundary. An item of more than [`UNCOUNTED`](concurrency::memory::UNCOUNTED) bytes stays counted until it is dropped.
/// While the upstream is silent, keep-alive comments are added. Dropping the stream closes the upstream connection.
pub(crate) type EventStream = Pin<Box<dyn Events + Send>>;

/// Capacity for the headers of a response, including those that the edge adds, so that the map is allocated once.
pub const MAX_HEADERS: usize = 12;

/// The upstream's response. `headers` holds only those meant for the caller (content type, retry-after, the provider's own
/// request id and time), never hop-by-hop ones.
pub enum ProviderReply {
    /// A complete response: of 2xx a completion or embeddings in OpenAI's form, or the events of a completion, which are recognised by
    /// their first bytes; of 4xx JSON with OpenAI's `error`, and with none of our credentials.
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    /// A 2xx response with server-sent events, whatever its content type says.
    Stream { headers: HeaderMap, frames: FrameStream },
}

impl From<BadRequest> for ProviderReply {
    fn from(error: BadRequest) -> Self {
        Self::refused(&error.to_string(), error.param())
    }
}

impl ProviderReply {
    /// An answer that is whole, and in OpenAI's form.
    pub fn answer(headers: HeaderMap, body: Bytes) -> Self {
        // Whatever success it was called: clients know of one.
        let status = StatusCode::OK;
        Self::Whole { status, headers, body }
    }

    /// The refusal of a request that the vendor cannot be sent; `param` names the member that it cannot take.
    pub fn refused(message: &str, param: Option<&str>) -> Self {
        let error = json!({"message": message, "type": "invalid_request_error", "param": param, "code": null});
        Self::Whole {
            status: StatusCode::BAD_REQUEST,
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
            body: json!({"error": error}).to_string().into(),
        }
    }
}

/// An upstream. Requests and replies are in OpenAI's form, whatever it says to its server.
///
/// Cancellation: dropping the returned future or the event stream ends the upstream call at once.
pub trait Provider: Send + Sync {
    /// The name in the configuration, which is also the metric label.
    fn name(&self) -> &str;

    /// What it can do, which does not change.
    fn capabilities(&self) -> Capabilities;

    /// Answers within the provider's configured timeouts. A 5xx of the upstream is an error, a 4xx a reply.
    fn send(&self, request: ProviderRequest) -> BoxFuture<'_, Result<ProviderReply, ProviderError>>;

    /// Uses another key or other headers for later calls.
    fn rotate(&self, config: &ProviderConfig) -> Result<(), ProviderSetupError>;

    /// Which of several servers behind this provider answers now; it is a part of the key of cached answers. `None` while
    /// answers must not be cached. Most providers have one server, which their configuration names.
    fn edition(&self) -> Option<u64> {
        Some(0)
    }

    /// The upstream's own model ids, by its free list request. Health and `mapleai doctor` take any list, an empty one too, for a sign
    /// that it is there. Nobody asks where [`Capabilities::model_list`] is false.
    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ProviderError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
