//! What happens to every request and every response, in one layer.

mod client;
mod request_id;
mod route_metrics;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    cache_control::{CacheClass, CacheControl},
    render::{Dialect, render},
    routes::{Found, RouteInfo, RouteTable},
};
use crate::{
    auth::{Caller, gate::Gate},
    failure::Failure,
    telemetry::{
        context::{self, RequestContext as LogContext},
        limit::RateLimit,
        traces::Traces,
    },
};
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use ipnet::IpNet;

pub use client::{ClientAddress, Peer};
pub use request_id::RequestId;
pub use route_metrics::RouteMetrics;

/// What handlers may know of a request besides its parts.
#[derive(Clone)]
pub struct RequestContext {
    pub id: RequestId,
    pub arrived: Instant,
    pub client: ClientAddress,
    /// The caller's trace (W3C Trace Context), to be passed on.
    pub traceparent: Option<HeaderValue>,
    /// What the caller asks of caches.
    pub cache_control: Option<HeaderValue>,
}

/// The edge's own state.
#[derive(Clone)]
pub struct Edge {
    inner: Arc<Inner>,
}

struct Inner {
    table: RouteTable,
    gate: Gate,
    trusted_proxies: Vec<IpNet>,
    unmatched: RouteMetrics,
    unmatched_path: Arc<str>,
    traces: Option<Traces>,
    /// Whether browsers are told to insist on https.
    https: bool,
    cache_control: CacheControl,
}

impl Edge {
    pub fn new(
        table: RouteTable,
        gate: Gate,
        trusted_proxies: Vec<IpNet>,
        https: bool,
        traces: Option<Traces>,
        cache_control: CacheControl,
    ) -> Self {
        let unmatched = RouteMetrics::new(&http::Method::GET, "other");
        Self {
            inner: Arc::new(Inner {
                table,
                gate,
                trusted_proxies,
                unmatched,
                unmatched_path: "other".into(),
                traces,
                https,
                cache_control,
            }),
        }
    }

    pub fn routes(&self) -> impl Iterator<Item = &Arc<RouteInfo>> {
        self.inner.table.iter()
    }

    /// The route a request goes to, or the failure that it is. A path that the router knows and the table does not is
    /// a mistake of ours, and stays closed.
    fn route_of(&self, request: &Request) -> Result<&Arc<RouteInfo>, Failure> {
        let Some(path) = request.extensions().get::<MatchedPath>() else {
            return Err(Failure::not_found());
        };
        match self.inner.table.find(path.as_str(), request.method()) {
            Found::Route(route) => Ok(route),
            Found::NoMethod => Err(Failure::method_not_allowed()),
            Found::NoPath => Err(Failure::not_found()),
        }
    }
}

/// The layer.
pub async fn edge(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let arrived = Instant::now();
    let id = RequestId::of(request.headers());
    let client = ClientAddress::of(&request, &edge.inner.trusted_proxies);
    let dialect = Dialect::of(request.uri().path());
    let method = request.method().clone();
    let page = (dialect == Dialect::Page && method == Method::GET).then(|| request.uri().path().to_owned());
    let route = edge.route_of(&request);
    let metrics = route.as_ref().map_or(&edge.inner.unmatched, |route| &route.metrics);
    let class = route.as_ref().map_or(CacheClass::NoStore, |route| route.cache);
    let in_flight = metrics.enter();
    let mut traceparent = request.headers().get(TRACEPARENT).cloned();
    let cache_control = request.headers().get(header::CACHE_CONTROL).cloned();
    let path = route.as_ref().map_or(&edge.inner.unmatched_path, |route| &route.path);
    let label = method_label(&method);
    let span = edge
        .inner
        .traces
        .as_ref()
        .map(|traces| traces.request(label, path, traceparent.as_ref()));
    let trace_id = if let Some(span) = &span {
        traceparent = span.traceparent();
        Some(span.trace_id())
    } else {
        let sent = traceparent.as_ref().and_then(|value| value.to_str().ok());
        sent.and_then(context::trace_id).map(Box::from)
    };
    let log = Arc::new(LogContext::new(id.shared(), trace_id, label, Arc::clone(path)));
    request.extensions_mut().insert(RequestContext {
        id: id.clone(),
        arrived,
        client,
        traceparent,
        cache_control,
    });
    let serving = async {
        let admitted = match &route {
            Ok(route) => edge.inner.gate.admit(route.access, &mut request, client.0).await,
            Err(failure) => Err(failure.clone()),
        };
        if let Err(failure) = admitted {
            return failure.into_response();
        }
        note_caller(&request, &log);
        if method == Method::GET && class.has_tag() {
            request.extensions_mut().insert(class);
        }
        next.run(request).await
    };
    let mut response = context::within(Arc::clone(&log), serving).await;
    let failure = response.extensions_mut().remove::<Arc<Failure>>();
    let elapsed = arrived.elapsed();
    context::within_sync(log, || {
        if let Some(failure) = &failure {
            log_failure(failure, elapsed, client);
            response = render(failure, dialect, id.as_str(), page.as_deref());
        }
        tracing::info!(
            target: "mapleai::http",
            status = response.status().as_u16(),
            duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            client = %client,
            "request answered"
        );
    });
    drop(in_flight);
    metrics.record(response.status(), elapsed);
    if let Some(span) = span {
        span.answered(response.status());
    }
    let status = response.status();
    edge.inner.cache_control.apply(class, status, response.headers_mut());
    finish(response.headers_mut(), &id, dialect, edge.inner.https);
    response
}

fn note_caller(request: &Request, log: &LogContext) {
    if let Some(caller) = request.extensions().get::<Caller>() {
        log.note_caller(
            caller.organization().map(|organization| organization.0),
            caller.user().map(|user| user.0),
        );
    }
}

/// As a label and in the log: methods are the caller's to invent.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Refusals of a person or program are for the security log, where an attack shows; a flood of them is not to become a
/// flood of lines.
static REFUSALS: RateLimit = RateLimit::new(20);

/// The cause goes to the log once, here, and never to the caller.
fn log_failure(failure: &Failure, elapsed: Duration, client: ClientAddress) {
    if matches!(failure.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        && let Some(suppressed) = REFUSALS.allow(Instant::now())
    {
        tracing::info!(
            target: "mapleai::security",
            code = failure.code,
            status = failure.status.as_u16(),
            client = %client,
            suppressed,
            "request refused"
        );
    }
    let Some(cause) = &failure.cause else { return };
    let mut text = cause.to_string();
    let mut source = cause.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    // An outage is reported by whoever notices its start and end, not once per request.
    if failure.code == "internal" {
        let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        tracing::error!(target: "mapleai::http", code = failure.code, status = failure.status.as_u16(), duration_ms, cause = text, "request failed");
    } else {
        tracing::info!(target: "mapleai::http", code = failure.code, cause = text, "request failed");
    }
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn finish(headers: &mut HeaderMap, id: &RequestId, dialect: Dialect, https: bool) {
    headers.insert(REQUEST_ID, id.header());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if https {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000; includeSubDomains"),
        );
    }
    // Programs do not render what they get.
    if dialect == Dialect::OpenAi {
        return;
    }
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    );
}
