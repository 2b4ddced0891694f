//! Processing common to every request and every response, in one layer.

mod client;
#[cfg(test)]
mod error_bodies;
mod framing;
mod request_id;
mod request_scope;
mod route_metrics;

use std::{sync::Arc, time::Instant};

use super::{
    cache_control::CacheControl,
    meant::meant,
    routes::{RouteInfo, RouteMatch, RouteTable},
};
use crate::{
    api_error::ApiError,
    auth::{Caller, authenticator::Authenticator},
};
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use concurrency::memory::{Budget, Holder};
use http::{HeaderValue, Method};
use ipnet::IpNet;
use telemetry::{context, traces::Traces};

use client::TrustedProxies;
pub use client::{ClientAddress, Peer};
pub(in crate::http) use framing::check as check_framing;
pub use request_id::RequestId;
pub(in crate::http) use request_scope::RequestScope;
pub use route_metrics::RouteMetrics;

/// The context of a request for handlers.
#[derive(Clone)]
pub struct RequestContext {
    pub id: RequestId,
    pub arrived: Instant,
    pub client: ClientAddress,
    /// The caller's trace (W3C Trace Context), to be passed on.
    pub traceparent: Option<HeaderValue>,
    /// The caller's cache directives.
    pub cache_control: Option<HeaderValue>,
}

/// The edge's own state.
#[derive(Clone)]
pub struct Edge {
    inner: Arc<EdgeInner>,
}

struct EdgeInner {
    table: RouteTable,
    authenticator: Authenticator,
    trusted_proxies: TrustedProxies,
    unmatched: RouteMetrics,
    unmatched_path: Arc<str>,
    traces: Option<Traces>,
    /// Whether browsers are told to use https only.
    https: bool,
    cache_control: CacheControl,
    memory: Budget,
    /// In development: the only host, besides the machine's own, that requests may name.
    only_host: Option<Box<str>>,
}

impl Edge {
    #[expect(clippy::too_many_arguments, reason = "called once, by the composition root")]
    pub fn new(
        table: RouteTable,
        authenticator: Authenticator,
        trusted_proxies: Vec<IpNet>,
        https: bool,
        traces: Option<Traces>,
        cache_control: CacheControl,
        memory: Budget,
        only_host: Option<Box<str>>,
    ) -> Self {
        let unmatched = RouteMetrics::new(&http::Method::GET, "other");
        Self {
            inner: Arc::new(EdgeInner {
                table,
                authenticator,
                trusted_proxies: TrustedProxies::new(trusted_proxies),
                unmatched,
                unmatched_path: "other".into(),
                traces,
                https,
                cache_control,
                memory,
                only_host,
            }),
        }
    }

    pub fn routes(&self) -> impl Iterator<Item = &Arc<RouteInfo>> {
        self.inner.table.iter()
    }

    /// A route of the table by its template.
    pub(in crate::http) fn route(&self, path: &str, method: &Method) -> Option<&Arc<RouteInfo>> {
        match self.inner.table.find(path, method) {
            RouteMatch::Route(route) => Some(route),
            RouteMatch::NoMethod | RouteMatch::NoPath => None,
        }
    }

    /// Checks of a request before authentication.
    pub(in crate::http) fn check_framing<B: http_body::Body>(
        &self,
        request: &http::Request<B>,
    ) -> Result<(), ApiError> {
        framing::check(request)?;
        match &self.inner.only_host {
            Some(own) => framing::check_local(request.headers(), own),
            None => Ok(()),
        }
    }

    pub(in crate::http) fn authenticator(&self) -> &Authenticator {
        &self.inner.authenticator
    }

    /// The route of a request, or the error. A path that the router has and the table lacks is a bug of ours, and stays
    /// closed.
    fn route_of(&self, request: &Request) -> Result<&Arc<RouteInfo>, ApiError> {
        let Some(path) = request.extensions().get::<MatchedPath>() else {
            return Err(unmatched(request.uri().path()));
        };
        match self.inner.table.find(path.as_str(), request.method()) {
            RouteMatch::Route(route) => Ok(route),
            RouteMatch::NoMethod => Err(ApiError::method_not_allowed()),
            RouteMatch::NoPath => Err(unmatched(request.uri().path())),
        }
    }
}

/// There is nothing at this path; whoever most likely meant another is told which.
fn unmatched(path: &str) -> ApiError {
    match meant(path) {
        Some(meant) => ApiError {
            detail: format!("There is nothing at this address. You most likely mean {meant}.").into(),
            ..ApiError::not_found()
        },
        None => ApiError::not_found(),
    }
}

/// The layer.
pub async fn edge(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let route = edge.route_of(&request);
    let (scope, context) = RequestScope::begin(&edge, &request, peer, route.as_ref().ok().map(|route| &***route));
    let client = context.client;
    let framed = edge.check_framing(&request);
    request.extensions_mut().insert(context);
    let log = scope.log();
    let serving = async {
        let admitted = match &route {
            _ if framed.is_err() => framed,
            Ok(route) => {
                edge.inner
                    .authenticator
                    .admit(route.access, &mut request, client.0)
                    .await
            }
            Err(error) => Err(error.clone()),
        };
        if let Err(error) = admitted {
            return Err(Arc::new(error));
        }
        if let Some(caller) = request.extensions().get::<Caller>() {
            scope.note_caller(caller);
        }
        if let Ok(route) = &route
            && request.method() == Method::GET
            && route.cache.has_tag()
        {
            request.extensions_mut().insert(route.cache);
        }
        if request.method() != Method::GET {
            let organization = context::organization();
            let holder = organization.map_or(Holder::Address(client.0), Holder::Organization);
            request.extensions_mut().insert(edge.inner.memory.of(holder));
        }
        let mut response = next.run(request).await;
        match response.extensions_mut().remove::<Arc<ApiError>>() {
            Some(error) => Err(error),
            None => Ok(response),
        }
    };
    let outcome = context::within(log, serving).await;
    scope.finish(outcome)
}
