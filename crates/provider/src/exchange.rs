//! One exchange with a vendor's server over HTTP: what all vendors share above the transport. A request goes out under the vendor's headers, and
//! comes back as a whole answer, a refusal or events, within the limits on time and size and with none of our secrets.
//!
//! What is a vendor's own is its [`VendorFormat`]. It is a type, so that asking it costs no pointer.

mod events;
mod format;
mod headers;
mod limits;
mod redact;
mod reply;
mod retry;

use std::{
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use tokio::time::timeout;

use super::{
    ProviderError, ProviderReply, ProviderRequest, SentMark,
    frames::Frames,
    registry::ProviderSetupError,
    transport::{ResponseBody, Transport},
};
use configuration::ProviderConfig;
use events::UpstreamEvents;
pub(crate) use format::VendorFormat;
pub(crate) use headers::secret;
use headers::{caller_headers, is_encoded, is_event_stream, sent_headers};
use limits::UpstreamTimeouts;
use redact::{redact, secrets_of};
use reply::{begin, collect, drain};

/// Largest answer that is buffered whole, in bytes.
pub(crate) const LARGEST_ANSWER: usize = 32 * 1024 * 1024;
/// Time limit of a request for the list of models, at start and in health checks.
const LIST_LIMIT: Duration = Duration::from_secs(3);
/// Largest list of models in bytes: some servers list a thousand, each with a page of description.
pub(crate) const LARGEST_LIST: usize = 16 * 1024 * 1024;

/// What a server answered, in the vendor's own format.
pub(crate) enum Exchanged<F: VendorFormat> {
    /// Of 2xx, JSON or, though nobody asked for them, events, under the headers that the caller gets.
    Whole {
        headers: HeaderMap,
        body: Bytes,
    },
    /// In OpenAI's form, by [`VendorFormat::refusal`].
    Refused(ProviderReply),
    Events(HeaderMap, Pin<Box<UpstreamEvents<F>>>),
}

/// One configured server of a vendor: the connections to it, what every request to it carries, and how long it may take for what.
pub(crate) struct VendorServer<F> {
    name: String,
    base: Uri,
    transport: Transport,
    /// Headers of every request, built once per set of secrets.
    headers: ArcSwap<HeaderMap>,
    pub(crate) limits: UpstreamTimeouts,
    format: PhantomData<fn() -> F>,
}

impl<F: VendorFormat> VendorServer<F> {
    /// At the configured `base_url`.
    pub(crate) fn new(name: &str, config: &ProviderConfig) -> Result<Self, ProviderSetupError> {
        let url = config
            .base_url
            .as_ref()
            .ok_or_else(|| ProviderSetupError::NoBaseUrl(name.to_owned()))?;
        let base: Uri = url.as_str().parse().map_err(|_| invalid(name, "base_url"))?;
        Ok(Self {
            name: name.to_owned(),
            headers: ArcSwap::from_pointee(headers_of::<F>(name, config)?),
            transport: Transport::new(name, &base, config)?,
            limits: UpstreamTimeouts::of(config),
            base,
            format: PhantomData,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The address of `path`, which begins with a slash, below the base URL. For setting up: it is put together anew.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri, ProviderSetupError> {
        let invalid = || invalid(&self.name, "base_url");
        let (scheme, host) = self.base.scheme_str().zip(self.base.authority()).ok_or_else(invalid)?;
        let prefix = self.base.path().trim_end_matches('/');
        let query = self.base.query().map_or(String::new(), |query| format!("?{query}"));
        let text = format!("{scheme}://{host}{prefix}{path}{query}");
        text.parse().map_err(|_| invalid())
    }

    /// Takes up another key or other headers for later requests.
    pub(crate) fn rotate(&self, config: &ProviderConfig) -> Result<(), ProviderSetupError> {
        self.headers.store(Arc::new(headers_of::<F>(&self.name, config)?));
        Ok(())
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

    /// Sends the body of `request`, which is in the vendor's format by now. A 5xx, and a status that says that our credentials are at fault, are
    /// errors.
    pub(crate) async fn post(&self, uri: &Uri, request: ProviderRequest) -> Result<Exchanged<F>, ProviderError> {
        let started = Instant::now();
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
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED
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
        let headers = caller_headers::<F>(status, &head.headers);
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
            F::ends_answer,
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
            reply::whole(headers, whole)
        } else {
            let body = if is_encoded { Bytes::new() } else { whole };
            let body = redact(&body, &secrets_of(&self.headers.load()), F::ID_PREFIXES);
            Ok(Exchanged::Refused(reply::refusal::<F>(status, headers, &body)))
        }
    }

    /// The reply that these events are to a request for so many choices. `convert` makes whole events in OpenAI's form of the vendor's.
    pub(crate) fn stream(
        &self,
        headers: HeaderMap,
        events: Pin<Box<UpstreamEvents<F>>>,
        choices: u32,
        convert: impl FnMut(Bytes) -> Bytes + Unpin + Send + 'static,
    ) -> ProviderReply {
        let sent = self.headers.load_full();
        let redact = Box::new(move |data: &[u8]| redact(data, &secrets_of(&sent), F::ID_PREFIXES).into_owned());
        let frames = Box::pin(Frames::new(events, choices, convert, redact));
        ProviderReply::Stream { headers, frames }
    }

    /// The body of the list of models at `uri`.
    pub(crate) async fn list(&self, uri: &Uri) -> Result<Bytes, ProviderError> {
        let started = Instant::now();
        let limits = UpstreamTimeouts {
            total: LIST_LIMIT,
            ..self.limits
        };
        let request = || self.request(Method::GET, uri, Bytes::new(), None);
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
        let (body, _) = collect(
            &mut answer,
            Bytes::new(),
            LARGEST_LIST,
            limits,
            started,
            None,
            F::ends_answer,
        )
        .await?;
        Ok(body)
    }
}

fn headers_of<F: VendorFormat>(name: &str, config: &ProviderConfig) -> Result<HeaderMap, ProviderSetupError> {
    sent_headers::<F>(config).ok_or_else(|| invalid(name, "api_key or headers"))
}

fn invalid(name: &str, what: &'static str) -> ProviderSetupError {
    ProviderSetupError::Invalid {
        name: name.to_owned(),
        what,
    }
}

#[cfg(test)]
pub(crate) mod tests;
