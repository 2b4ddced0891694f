//! Any server that speaks the OpenAI API: OpenAI itself, vLLM, llama.cpp, Ollama and their like.

mod connect;
mod events;
mod headers;
mod pool;
mod reply;
mod wire;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri};
use http_body_util::Full;
use serde::Deserialize;
use tokio::time::timeout;

use super::{Endpoint, Provider, ProviderError, ProviderReply, ProviderRequest, registry::ProviderSetupError};
use crate::{config::ProviderConfig, domain::swap::Swap, turn::Pieces};
use connect::{TimedConnector, is_connect_timeout};
use events::UpstreamEvents;
use headers::{caller_headers, is_event_stream, sent_headers};
use pool::{AnswerBody, Pool, SendError};
use reply::{collect, drain};
use wire::Sent;

/// Largest answer that is held whole, in bytes.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;
/// The list of models is asked for at start and by health checks.
const LIST_LIMIT: Duration = Duration::from_secs(3);
const LARGEST_LIST: usize = 1024 * 1024;

/// See [`ProviderConfig`] for what each limit covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) chunk: Duration,
    pub(super) total: Duration,
}

/// One configured upstream with its connection pool.
pub struct OpenAiProvider {
    name: String,
    pool: Pool,
    /// Paths: where the server is, the pool knows.
    chat: Uri,
    embeddings: Uri,
    models: Uri,
    /// Sent with every request; made once for each set of secrets.
    headers: Swap<HeaderMap>,
    host: String,
    limits: Limits,
}

impl OpenAiProvider {
    pub fn new(name: &str, config: &ProviderConfig) -> Result<Self, ProviderSetupError> {
        let base = config
            .base_url
            .as_ref()
            .ok_or_else(|| ProviderSetupError::NoBaseUrl(name.to_owned()))?;
        let invalid = |what| ProviderSetupError::Invalid {
            name: name.to_owned(),
            what,
        };
        let origin: Uri = base.as_str().parse().map_err(|_| invalid("base_url"))?;
        let host = origin.authority().ok_or_else(|| invalid("base_url"))?.to_string();
        let prefix = base.path().trim_end_matches('/');
        let query = base.query().map_or(String::new(), |query| format!("?{query}"));
        let uri = |path: &str| {
            let text = format!("{prefix}{path}{query}");
            text.parse::<Uri>().map_err(|_| invalid("base_url"))
        };
        let headers = sent_headers(config, &host).ok_or_else(|| invalid("api_key or headers"))?;
        let connector =
            TimedConnector::new(config.connect_timeout, base.scheme() == "https").map_err(ProviderSetupError::Tls)?;
        Ok(Self {
            name: name.to_owned(),
            pool: Pool::new(connector, origin),
            chat: uri(Endpoint::ChatCompletions.path())?,
            embeddings: uri(Endpoint::Embeddings.path())?,
            models: uri("/models")?,
            headers: Swap::new(headers),
            host,
            limits: Limits {
                connect: config.connect_timeout,
                first_byte: config.first_byte_timeout,
                chunk: config.chunk_timeout,
                total: config.total_timeout,
            },
        })
    }

    fn request(&self, method: Method, uri: &Uri, body: Bytes, traceparent: Option<HeaderValue>) -> Sent {
        let mut request = Sent::new(Pieces::new(Full::new(body)));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = (*self.headers.get()).clone();
        if let Some(traceparent) = traceparent {
            request
                .headers_mut()
                .insert(HeaderName::from_static("traceparent"), traceparent);
        }
        request
    }

    async fn head(&self, request: Sent, limits: Limits) -> Result<Response<AnswerBody>, ProviderError> {
        match timeout(limits.first_byte.min(limits.total), self.pool.send(request)).await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(error)) => Err(self.unanswered(error)),
            Err(_) if limits.total <= limits.first_byte => Err(ProviderError::TotalTimeout(limits.total)),
            Err(_) => Err(ProviderError::FirstByteTimeout(limits.first_byte)),
        }
    }

    /// What it means that there is no head.
    #[cold]
    fn unanswered(&self, error: SendError) -> ProviderError {
        match error {
            SendError::Exchange(error) if error.is_parse_too_large() => {
                ProviderError::BadReply("its head is too large")
            }
            SendError::Exchange(error) if error.is_parse() => ProviderError::BadReply("it is not HTTP/1.1"),
            SendError::Exchange(error) => ProviderError::BrokenOff(Box::new(error)),
            SendError::Connect(error) if is_connect_timeout(&*error) => {
                ProviderError::ConnectTimeout(self.limits.connect)
            }
            SendError::Connect(error) => ProviderError::Unreachable(error),
        }
    }

    async fn exchange(&self, request: ProviderRequest) -> Result<ProviderReply, ProviderError> {
        let started = Instant::now();
        let uri = match request.endpoint {
            Endpoint::ChatCompletions => &self.chat,
            Endpoint::Embeddings => &self.embeddings,
        };
        let stream = request.stream;
        let sent = self.request(Method::POST, uri, request.body, request.traceparent);
        let (head, mut body) = self.head(sent, self.limits).await?.into_parts();
        let status = head.status;
        // Our credentials with the upstream are nothing the caller can mend, and its message may quote them.
        let ours = status == http::StatusCode::UNAUTHORIZED || status == http::StatusCode::FORBIDDEN;
        if ours || !(status.is_success() || status.is_client_error()) {
            if Box::pin(drain(&mut body)).await {
                body.give_back();
            }
            return Err(ProviderError::Status(status));
        }
        let headers = caller_headers(&head.headers);
        if stream && status.is_success() && is_event_stream(&head.headers) {
            let events = UpstreamEvents::new(body, self.limits, started);
            return Ok(ProviderReply::Events {
                headers,
                events: Box::pin(events),
            });
        }
        let whole = collect(&mut body, LARGEST_ANSWER, self.limits, started).await?;
        body.give_back();
        Ok(ProviderReply::Whole {
            status,
            headers,
            body: whole,
        })
    }

    async fn list(&self) -> Result<Vec<String>, ProviderError> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            id: String,
        }
        let started = Instant::now();
        let limits = Limits {
            total: LIST_LIMIT,
            ..self.limits
        };
        let request = self.request(Method::GET, &self.models, Bytes::new(), None);
        let response = self.head(request, limits).await?;
        if !response.status().is_success() {
            return Err(ProviderError::Status(response.status()));
        }
        let mut answer = response.into_body();
        let body = collect(&mut answer, LARGEST_LIST, limits, started).await?;
        answer.give_back();
        let list: List =
            serde_json::from_slice(&body).map_err(|_| ProviderError::BadReply("its list of models is not one"))?;
        Ok(list.data.into_iter().map(|entry| entry.id).collect())
    }
}

impl Provider for OpenAiProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn send(&self, request: ProviderRequest) -> BoxFuture<'_, Result<ProviderReply, ProviderError>> {
        Box::pin(self.exchange(request))
    }

    fn rotate(&self, config: &ProviderConfig) -> Result<(), ProviderSetupError> {
        let headers = sent_headers(config, &self.host).ok_or_else(|| ProviderSetupError::Invalid {
            name: self.name.clone(),
            what: "api_key or headers",
        })?;
        self.headers.set(headers);
        Ok(())
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ProviderError>> {
        Box::pin(self.list())
    }
}

#[cfg(test)]
mod tests;
