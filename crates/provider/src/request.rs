//! What a provider is sent: bytes in OpenAI's form, and beside them what was read of these on the way.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::HeaderValue;

use concurrency::memory::Allowance;
use llm::{
    Endpoint,
    inbound::openai::{BadRequest, Members},
};

/// Whether anything of a call has been sent to the upstream: until then it costs nothing.
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
    /// The upstream's name for the model, which the body has as well.
    pub model: Arc<str>,
    /// JSON in OpenAI's form, with the upstream's name for the model. Of a stream it may have `stream_options` that the caller
    /// did not send.
    pub body: Bytes,
    /// Whether the body asks for a stream.
    pub stream: bool,
    /// How many answers it asks for; 0 if that cannot be read.
    pub choices: u32,
    /// The body has a `stream_options` that the caller knows nothing of.
    pub has_added_usage: bool,
    /// W3C trace context to pass on.
    pub traceparent: Option<HeaderValue>,
    /// Set by the provider before it sends the first byte.
    pub sent: SentMark,
    /// The allowance that buffered bytes are charged to; without one they are not counted.
    pub memory: Option<Allowance>,
}

impl ProviderRequest {
    /// For one answer that is not streamed, counted in nobody's memory.
    pub fn whole(endpoint: Endpoint, model: Arc<str>, body: Bytes) -> Self {
        Self {
            endpoint,
            model,
            body,
            stream: false,
            choices: 1,
            has_added_usage: false,
            traceparent: None,
            sent: SentMark::default(),
            memory: None,
        }
    }

    /// The body's members, for a vendor whose API is another one. It is read when this is asked: a vendor that passes it on does not pay for it.
    pub fn members(&self) -> Result<Members<'_>, BadRequest> {
        Members::read(&self.body)
    }
}
