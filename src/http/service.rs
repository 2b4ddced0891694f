//! What a listener serves: the router, and a shorter way to models for programs.
//!
//! axum boxes, clones and moves a request at every layer, and hands handlers what they need through a map in the request:
//! a tenth of what a call to a model costs us. So these calls are told apart here. They pass the same [`RequestScope`], gate,
//! limits and handler as they would behind the router, which also still knows them: browsers' calls from elsewhere, which
//! CORS has to see, go that way, and the API's document is made from it.

use std::{convert::Infallible, net::SocketAddr, panic::AssertUnwindSafe, pin::pin, sync::Arc};

use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, header};
use http_body::Body as HttpBody;
use tower::ServiceExt;

use super::{
    edge::{Edge, Peer, RequestScope},
    extract::{Bounds, json_body},
    layers,
    openai::completions as handlers,
    routes::RouteInfo,
};
use crate::{
    api_error::ApiError,
    auth::{access::Access, extract::ApiCaller},
};
use concurrency::memory::Holder;
use gateway::completions::Completions;
use llm::{Endpoint, inbound};
use telemetry::context;

/// Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<ServiceInner>);

struct ServiceInner {
    router: Router,
    edge: Edge,
    completions: Completions,
    calls: Vec<(Endpoint, Arc<RouteInfo>)>,
    /// Of a call.
    body: Bounds,
    /// Whether there are origins whose browsers' requests CORS is for.
    cors: bool,
}

impl Service {
    pub fn new(router: Router, edge: Edge, completions: Completions, body: Bounds, cors: bool) -> Self {
        let calls = [Endpoint::ChatCompletions, Endpoint::Embeddings].into_iter();
        let calls = calls.filter_map(|endpoint| {
            let path = format!("/v1{}", inbound::openai::path(endpoint));
            // What is for somebody else than programs is the router's.
            let route = edge.route(&path, &Method::POST);
            let route = route.filter(|route| route.access == Access::Program)?;
            Some((endpoint, Arc::clone(route)))
        });
        Self(Arc::new(ServiceInner {
            calls: calls.collect(),
            router,
            edge,
            completions,
            body,
            cors,
        }))
    }

    /// Answers one request of a connection.
    pub async fn answer<B>(self, request: Request<B>, peer: SocketAddr) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        match self.0.call_of(&request) {
            Some((endpoint, route)) => self.0.call(*endpoint, route, request, peer).await,
            None => Box::pin(routed(self.0.router.clone(), request, peer)).await,
        }
    }
}

/// By way of the router.
pub async fn routed<B>(router: Router, mut request: Request<B>, peer: SocketAddr) -> Response
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    request.extensions_mut().insert(Peer(peer));
    let answered: Result<_, Infallible> = router.oneshot(request.map(Body::new)).await;
    answered.unwrap_or_else(|never| match never {})
}

impl ServiceInner {
    /// The call to a model that a request is, if it may go the short way.
    fn call_of<B>(&self, request: &Request<B>) -> Option<&(Endpoint, Arc<RouteInfo>)> {
        if request.method() != Method::POST || (self.cors && request.headers().contains_key(header::ORIGIN)) {
            return None;
        }
        let path = request.uri().path();
        self.calls.iter().find(|(_, route)| *route.path == *path)
    }

    async fn call<B>(&self, endpoint: Endpoint, route: &RouteInfo, request: Request<B>, peer: SocketAddr) -> Response
    where
        B: HttpBody<Data = Bytes>,
    {
        let (scope, context) = RequestScope::begin(&self.edge, &request, Some(Peer(peer)), Some(route));
        let log = scope.log();
        let outcome = {
            // Pinned where it is: it is large, and being wrapped would move it.
            let serving = pin!(async {
                self.edge.check_framing(&request)?;
                let caller = self
                    .edge
                    .authenticator()
                    .program(request.headers(), context.client.0)
                    .await?;
                scope.note_caller(&caller);
                let principal = caller.principal().ok_or_else(ApiError::unauthenticated)?;
                let (head, body) = request.into_parts();
                let memory = (
                    self.completions.memory(),
                    Holder::Organization(principal.organization.0),
                );
                let body = json_body(&head.headers, body, self.body, Some(memory)).await?;
                handlers::call(endpoint, &self.completions, ApiCaller(principal), context, body).await
            });
            // Nothing of a call that panicked is looked at again.
            AssertUnwindSafe(context::within(log, serving)).catch_unwind().await
        };
        let outcome = outcome.unwrap_or_else(|panic| {
            let noted = context::within_sync(scope.log(), || layers::note_panic(&*panic));
            Err(noted)
        });
        scope.finish(outcome.map_err(Arc::new))
    }
}
