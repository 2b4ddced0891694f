//! One call, its response and its errors.

use llm::inbound::openai::BadRequest;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{
    cache_policy::{CacheDirectives, CacheStatus},
    stream::AnswerStream,
};
use crate::{admission::Refused, usage::BacklogFull};
use domain::principal::Principal;
use llm::Endpoint;
use provider::ProviderError;

/// One call as received.
#[derive(Clone)]
pub struct Call {
    pub endpoint: Endpoint,
    pub principal: Principal,
    pub body: Bytes,
    /// W3C trace context, passed on.
    pub traceparent: Option<HeaderValue>,
    /// When the request arrived; latencies count from here.
    pub arrived: Instant,
    pub cache_directives: CacheDirectives,
}

#[derive(Debug, thiserror::Error)]
pub enum CompletionError {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error("the model `{0}` does not exist")]
    UnknownModel(String),
    #[error("the model `{model}` does not support this endpoint; it is for {kind}")]
    WrongKind { model: String, kind: &'static str },
    #[error(transparent)]
    BacklogFull(#[from] BacklogFull),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the server is shutting down")]
    Stopping,
    /// The key was revoked, or the session ended, while the call waited for its answer.
    #[error("the credential that this was asked for with is no longer good")]
    Revoked,
}

/// Why a call cannot be admitted now.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum NoCapacity {
    #[error(transparent)]
    BacklogFull(#[from] BacklogFull),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<NoCapacity> for CompletionError {
    fn from(error: NoCapacity) -> Self {
        match error {
            NoCapacity::BacklogFull(error) => error.into(),
            NoCapacity::Refused(error) => error.into(),
        }
    }
}

/// The response to the caller.
pub enum CallResponse {
    /// Complete; 2xx or the upstream's own refusal.
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    /// Server-sent events, forwarded as they come.
    Stream { headers: HeaderMap, events: AnswerStream },
}

/// The response to the caller, and how the cache served it.
pub struct CallResult {
    pub answer: CallResponse,
    pub cache: CacheStatus,
}
