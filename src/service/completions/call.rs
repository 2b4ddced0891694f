//! One call, what comes of it, and why nothing does.

use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{
    plan::{CacheStatus, Freshness},
    request::BadRequest,
    stream::AnswerStream,
};
use crate::{
    domain::ids::{ApiKeyId, OrganizationId, UserId},
    provider::{Endpoint, ProviderError},
    service::{admission::Refused, live_calls::Credential, usage::BacklogFull},
};

/// On whose account a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub organization: OrganizationId,
    pub user: UserId,
    pub api_key: Option<ApiKeyId>,
    /// What ends the call when it is no longer good.
    pub credential: Credential,
    /// When that ends by itself, if it does.
    pub until: Option<DateTime<Utc>>,
}

/// One call as it came in.
#[derive(Clone)]
pub struct Call {
    pub endpoint: Endpoint,
    pub account: Account,
    pub body: Bytes,
    /// W3C trace context, passed on.
    pub traceparent: Option<HeaderValue>,
    /// When the request arrived; latencies count from here.
    pub arrived: Instant,
    pub freshness: Freshness,
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

/// Why there is no place for a call now.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum NoPlace {
    #[error(transparent)]
    BacklogFull(#[from] BacklogFull),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<NoPlace> for CompletionError {
    fn from(error: NoPlace) -> Self {
        match error {
            NoPlace::BacklogFull(error) => error.into(),
            NoPlace::Refused(error) => error.into(),
        }
    }
}

/// What goes back to the caller.
pub enum Answer {
    /// Complete; 2xx or the upstream's own refusal.
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    /// Server-sent events, forwarded as they come.
    Stream { headers: HeaderMap, events: AnswerStream },
}

/// What goes back to the caller, and what the cache had to do with it.
pub struct Answered {
    pub answer: Answer,
    pub cache: CacheStatus,
}
