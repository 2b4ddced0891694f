//! Any server that speaks the OpenAI API: OpenAI itself, vLLM, llama.cpp, Ollama and their like.

mod events;
mod headers;
mod limits;
mod models;
mod redact;
mod reply;
mod retry;

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use tokio::time::timeout;

use super::{
    Endpoint, Provider, ProviderError, ProviderReply, ProviderRequest, SentMark,
    frames::Frames,
    registry::ProviderSetupError,
    transport::{ResponseBody, Transport},
};
use configuration::{ProviderConfig, ProviderKind};
use events::UpstreamEvents;
use headers::{caller_headers, is_encoded, is_event_stream, sent_headers};
use limits::{KEEP_ALIVE_AFTER, UpstreamTimeouts};
use llm::outbound::openai::frames::FrameReader;
use redact::{redact, secrets_of};
use reply::{begin, collect, drain};

/// Largest answer that is buffered whole, in bytes.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;
/// Time limit of a request for the list of models, at start and in health checks.
const LIST_LIMIT: Duration = Duration::from_secs(3);
/// Largest list of models in bytes: some servers list a thousand, each with a page of description.
const LARGEST_LIST: usize = 16 * 1024 * 1024;

/// What an upstream answered, before its events are made into frames.
enum Exchanged {
    Whole(ProviderReply),
    Events(HeaderMap, Pin<Box<UpstreamEvents>>),
}

/// One configured upstream.
pub struct OpenAiProvider {
    name: String,
    transport: Transport,
    chat: Uri,
    embeddings: Uri,
    models: Uri,
    /// Headers of every request, built once per set of secrets.
    headers: ArcSwap<HeaderMap>,
    limits: UpstreamTimeouts,
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
        let (scheme, host) = origin
            .scheme_str()
            .zip(origin.authority())
            .ok_or_else(|| invalid("base_url"))?;
        let prefix = base.path().trim_end_matches('/');
        let query = base.query().map_or(String::new(), |query| format!("?{query}"));
        let uri = |path: &str| {
            let text = format!("{scheme}://{host}{prefix}{path}{query}");
            text.parse::<Uri>().map_err(|_| invalid("base_url"))
        };
        let headers = sent_headers(config).ok_or_else(|| invalid("api_key or headers"))?;
        Ok(Self {
            name: name.to_owned(),
            transport: Transport::new(name, &origin, config)?,
            chat: uri(Endpoint::ChatCompletions.path())?,
            embeddings: uri(Endpoint::Embeddings.path())?,
            models: uri("/models")?,
            headers: ArcSwap::from_pointee(headers),
            limits: UpstreamTimeouts {
                first_byte: config.first_byte_timeout,
                first_content: config.first_content_timeout,
                chunk: config.chunk_timeout,
                whole: config.whole_timeout,
                total: config.total_timeout,
                keep_alive: KEEP_ALIVE_AFTER,
                is_lively: config.kind == ProviderKind::Local,
            },
        })
    }

    fn request(&self, method: Method, uri: &Uri, body: Bytes, traceparent: Option<HeaderValue>) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = (**self.headers.load()).clone();
        if let Some(traceparent) = traceparent {
            request
                .headers_mut()
                .insert(HeaderName::from_static("traceparent"), traceparent);
        }
        request
    }

    /// Sends the request that `request` makes, and waits for the response head.
    async fn head(
        &self,
        request: impl Fn() -> Request<Bytes>,
        mark: &SentMark,
        limits: UpstreamTimeouts,
    ) -> Result<Response<ResponseBody>, ProviderError> {
        match timeout(limits.first_byte.min(limits.total), self.transport.send(request, mark)).await {
            Ok(answered) => answered,
            Err(_) if limits.total <= limits.first_byte => Err(ProviderError::TotalTimeout(limits.total)),
            Err(_) => Err(ProviderError::FirstByteTimeout(limits.first_byte)),
        }
    }

    async fn exchange(&self, request: ProviderRequest) -> Result<Exchanged, ProviderError> {
        let started = Instant::now();
        let uri = match request.endpoint {
            Endpoint::ChatCompletions => &self.chat,
            Endpoint::Embeddings => &self.embeddings,
        };
        let limits = if request.stream {
            self.limits
        } else {
            self.limits.of_whole()
        };
        let sent = || self.request(Method::POST, uri, request.body.clone(), request.traceparent.clone());
        let (head, mut body) = self.head(sent, &request.sent, limits).await?.into_parts();
        let status = head.status;
        // The caller cannot fix our credentials with the upstream or its proxy, and the message may quote them.
        let ours = matches!(
            status,
            http::StatusCode::UNAUTHORIZED
                | http::StatusCode::FORBIDDEN
                | http::StatusCode::PROXY_AUTHENTICATION_REQUIRED
        );
        if ours || !(status.is_success() || status.is_client_error()) {
            Box::pin(drain(&mut body)).await;
            return Err(match retry::of_busy(status, &head.headers) {
                Some(retry_after) => ProviderError::Busy { status, retry_after },
                None => ProviderError::Status(status),
            });
        }
        let is_encoded = is_encoded(&head.headers);
        if is_encoded && status.is_success() {
            return Err(ProviderError::BadReply(
                "its body is encoded, though that was not asked for",
            ));
        }
        let headers = caller_headers(status, &head.headers);
        let mut first = Bytes::new();
        if request.stream && status.is_success() {
            let mut is_stream = is_event_stream(&head.headers);
            if !is_stream {
                (first, is_stream) = begin(&mut body, self.limits.of_whole(), started).await?;
            }
            if is_stream {
                let events = UpstreamEvents::new(body, first, self.limits, started, request.memory);
                return Ok(Exchanged::Events(headers, Box::pin(events)));
            }
        }
        let collected = collect(
            &mut body,
            first,
            LARGEST_ANSWER,
            self.limits.of_whole(),
            started,
            request.memory.as_ref(),
        )
        .await;
        let whole = match collected {
            Ok((whole, true)) => whole,
            Ok((whole, false)) => {
                body.drain();
                whole
            }
            // A server that refuses a body unread may close before its message is complete; the status is enough.
            Err(ProviderError::BrokenOff(_)) if !status.is_success() => Bytes::new(),
            Err(error) => return Err(error),
        };
        if status.is_success() {
            reply::whole(headers, whole).map(Exchanged::Whole)
        } else {
            let body = if is_encoded { Bytes::new() } else { whole };
            let body = redact(&body, &secrets_of(&self.headers.load()));
            Ok(Exchanged::Whole(reply::refusal(status, headers, &body)))
        }
    }

    async fn reply(&self, request: ProviderRequest) -> Result<ProviderReply, ProviderError> {
        let reader = FrameReader::new(request.choices);
        match self.exchange(request).await? {
            Exchanged::Whole(reply) => Ok(reply),
            Exchanged::Events(headers, events) => {
                let sent = self.headers.load_full();
                let redact = Box::new(move |data: &[u8]| redact(data, &secrets_of(&sent)).into_owned());
                let frames = Box::pin(Frames::new(events, reader, redact));
                Ok(ProviderReply::Stream { headers, frames })
            }
        }
    }

    async fn list(&self) -> Result<Vec<String>, ProviderError> {
        let started = Instant::now();
        let limits = UpstreamTimeouts {
            total: LIST_LIMIT,
            ..self.limits
        };
        let request = || self.request(Method::GET, &self.models, Bytes::new(), None);
        let response = self.head(request, &SentMark::default(), limits).await?;
        if !response.status().is_success() {
            return Err(ProviderError::Status(response.status()));
        }
        if is_encoded(response.headers()) {
            return Err(ProviderError::BadReply(
                "its list of models is encoded, though that was not asked for",
            ));
        }
        let mut answer = response.into_body();
        let (body, _) = collect(&mut answer, Bytes::new(), LARGEST_LIST, limits, started, None).await?;
        models::ids_of(&body).ok_or(ProviderError::BadReply("its list of models is not one"))
    }
}

impl Provider for OpenAiProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn send(&self, request: ProviderRequest) -> BoxFuture<'_, Result<ProviderReply, ProviderError>> {
        Box::pin(self.reply(request))
    }

    fn rotate(&self, config: &ProviderConfig) -> Result<(), ProviderSetupError> {
        let headers = sent_headers(config).ok_or_else(|| ProviderSetupError::Invalid {
            name: self.name.clone(),
            what: "api_key or headers",
        })?;
        self.headers.store(Arc::new(headers));
        Ok(())
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ProviderError>> {
        Box::pin(self.list())
    }
}

#[cfg(test)]
mod tests;
