//! Work common to all requests, before and after they are served.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};

use super::{ClientAddress, Edge, Peer, RequestContext, RequestId, RouteMetrics, route_metrics::InFlight};
use crate::{
    api_error::ApiError,
    auth::{
        Caller,
        authenticator::{is_by_key, is_by_token},
    },
    http::{
        cache_control::CacheClass,
        meant::meant,
        render::{Dialect, render},
        routes::RouteInfo,
    },
};
use telemetry::{
    context::{self, LogContext},
    error_chain,
    limit::RateLimit,
    traces::OpenSpan,
};

/// The scope of one request, counted as in flight until its response is finished or its future is dropped.
pub(in crate::http) struct RequestScope<'e> {
    edge: &'e Edge,
    metrics: &'e RouteMetrics,
    class: CacheClass,
    arrived: Instant,
    id: RequestId,
    client: ClientAddress,
    dialect: Dialect,
    /// The page that a browser requested, to return to after signing in.
    page: Option<String>,
    log: Arc<LogContext>,
    span: Option<OpenSpan>,
    _in_flight: InFlight,
}

impl<'e> RequestScope<'e> {
    /// Begins a request. Also returns the context for handlers.
    pub(in crate::http) fn begin<B>(
        edge: &'e Edge,
        request: &Request<B>,
        peer: Option<Peer>,
        route: Option<&'e RouteInfo>,
    ) -> (Self, RequestContext) {
        let arrived = Instant::now();
        let inner = &*edge.inner;
        let (headers, method, path) = (request.headers(), request.method(), request.uri().path());
        let id = RequestId::of(headers);
        let client = inner.trusted_proxies.client(peer, headers);
        let dialect = match Dialect::of(path) {
            Dialect::Page if route.is_none() => dialect_of_unmatched(path, headers),
            dialect => dialect,
        };
        let metrics = route.map_or(&inner.unmatched, |route| &route.metrics);
        let in_flight = metrics.begin();
        let template = route.map_or(&inner.unmatched_path, |route| &route.path);
        let label = method_label(method);
        let mut traceparent = context::traceparent(headers);
        let span = inner
            .traces
            .as_ref()
            .map(|traces| traces.request(label, template, traceparent.as_ref()));
        let trace_id = if let Some(span) = &span {
            traceparent = span.traceparent();
            Some(span.trace_id())
        } else {
            let sent = traceparent.as_ref().and_then(|value| value.to_str().ok());
            sent.and_then(context::trace_id).map(Box::from)
        };
        let context = RequestContext {
            id: id.clone(),
            arrived,
            client,
            traceparent,
            cache_control: headers.get(header::CACHE_CONTROL).cloned(),
        };
        let scope = Self {
            edge,
            metrics,
            class: route.map_or(CacheClass::NoStore, |route| route.cache),
            arrived,
            client,
            dialect,
            page: (dialect == Dialect::Page && method == Method::GET).then(|| path.to_owned()),
            log: Arc::new(LogContext::new(
                id.shared(),
                trace_id,
                client.0,
                label,
                Arc::clone(template),
            )),
            id,
            span,
            _in_flight: in_flight,
        };
        (scope, context)
    }

    /// The fields that all log lines of the request share.
    pub(in crate::http) fn log(&self) -> Arc<LogContext> {
        Arc::clone(&self.log)
    }

    pub(in crate::http) fn note_caller(&self, caller: &Caller) {
        self.log.note_caller(
            caller.organization().map(|organization| organization.0),
            caller.user().map(|user| user.0),
        );
    }

    /// Renders an error, and completes, counts and logs the response.
    pub(in crate::http) fn finish(self, outcome: Result<Response, Arc<ApiError>>) -> Response {
        let elapsed = self.arrived.elapsed();
        let mut response = context::within_sync(Arc::clone(&self.log), || {
            let response = outcome.unwrap_or_else(|error| {
                log_error(&error, elapsed, self.client);
                render(&error, self.dialect, self.id.as_str(), self.page.as_deref())
            });
            tracing::info!(
                target: "mapleai::http",
                status = response.status().as_u16(),
                duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                client = %self.client,
                "request answered"
            );
            response
        });
        let status = response.status();
        self.metrics.record(status, elapsed);
        if let Some(span) = self.span {
            span.answered(status);
        }
        let inner = &*self.edge.inner;
        let headers = response.headers_mut();
        inner.cache_control.apply(self.class, status, headers);
        set_headers(headers, &self.id, self.dialect, inner.https);
        response
    }
}

/// The dialect for an unmatched path. A program never gets a page, whatever it accepts, and one with an API key, which is for
/// `/v1` only, gets OpenAI's dialect. Browsers accept `text/html`.
fn dialect_of_unmatched(path: &str, headers: &HeaderMap) -> Dialect {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    if meant(path).is_some() || is_by_key(headers) {
        Dialect::OpenAi
    } else if !is_by_token(headers) && accepted.any(|value| value.contains("text/html")) {
        Dialect::Page
    } else {
        Dialect::Problem
    }
}

/// The method as a label and in the log: bounded, since callers can send any.
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

/// Refusals for missing or insufficient credentials go to the security log, where an attack shows, at a limited rate.
static REFUSALS: RateLimit = RateLimit::new(20);

/// Logs the source of an error, once; the caller never sees it.
fn log_error(error: &ApiError, elapsed: Duration, client: ClientAddress) {
    if matches!(error.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        && let Some(suppressed) = REFUSALS.allow(Instant::now())
    {
        tracing::info!(
            target: "mapleai::security",
            code = error.code,
            status = error.status.as_u16(),
            client = %client,
            suppressed,
            "request refused"
        );
    }
    let Some(source) = &error.source else { return };
    let text = error_chain(&**source);
    // An outage is logged at its start and end, not per request.
    if error.code == "internal" {
        let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        tracing::error!(target: "mapleai::http", code = error.code, status = error.status.as_u16(), duration_ms, cause = text, "request failed");
    } else {
        tracing::info!(target: "mapleai::http", code = error.code, cause = text, "request failed");
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn set_headers(headers: &mut HeaderMap, id: &RequestId, dialect: Dialect, https: bool) {
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
