//! The ready-made layers and how they are set up. Their order is documented in [`super`].

use std::{any::Any, time::Duration};

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer, Predicate,
        predicate::{NotForContentType, SizeAbove},
    },
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
};

use crate::{api_error::ApiError, state::AppState};

/// Bodies below this gain nothing from compression.
const COMPRESS_ABOVE: u64 = 1024;

/// A panic in a handler fails its own request only, and is told like any other failure.
pub fn catch_panic() -> CatchPanicLayer<fn(Box<dyn Any + Send>) -> Response> {
    CatchPanicLayer::custom(panicked as fn(Box<dyn Any + Send>) -> Response)
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    note_panic(&*panic).into_response()
}

/// Logs a panic, and gives what the caller is told.
pub(super) fn note_panic(panic: &(dyn Any + Send)) -> ApiError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(target: "mapleai::http", panic = text, "handler panicked");
    ApiError::internal()
}

/// Gives up on a request whose handler takes too long. Not for streams, which have limits of their own.
pub fn time_limit(router: Router<AppState>, limit: Duration) -> Router<AppState> {
    router.layer(from_fn(move |request: Request, next: Next| async move {
        match tokio::time::timeout(limit, next.run(request)).await {
            Ok(response) => response,
            Err(_) => ApiError::timed_out().into_response(),
        }
    }))
}

/// The largest body of a route, for the refusal to name.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(pub usize);

/// How long a body may take to arrive.
#[derive(Debug, Clone, Copy)]
pub struct BodyTimeout(pub Duration);

/// A limit of their own for these routes, below the one that holds for all.
pub fn body_limit(router: Router<AppState>, limit: usize) -> Router<AppState> {
    router.layer((DefaultBodyLimit::max(limit), Extension(BodyLimit(limit))))
}

/// Marks an answer that was compressed beforehand, in whatever its caller takes of that.
#[derive(Clone, Copy)]
pub(super) struct Prepared;

/// Compresses what is worth it. Event streams are left alone: a compressor holds chunks back.
pub fn compression(router: Router<AppState>) -> Router<AppState> {
    let worth_it = SizeAbove::new(COMPRESS_ABOVE)
        .and(NotForContentType::SSE)
        .and(NotForContentType::IMAGES)
        // Anybody may ask for these, as often as wanted and in encodings that nobody uses.
        .and(|_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions| {
            extensions.get::<Prepared>().is_none()
        });
    router.layer(CompressionLayer::new().compress_when(worth_it))
}

/// CORS for the configured origins. `*` allows any origin without credentials.
pub fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allow = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    Some(
        CorsLayer::new()
            .allow_origin(allow)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            // Whatever clients want to send: OpenAI's own packages send a dozen headers about themselves. Credentials of the
            // browser's (cookies) are not among what an origin is allowed.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers([
                HeaderName::from_static("x-request-id"),
                HeaderName::from_static("x-maple-cache"),
                header::AGE,
                header::RETRY_AFTER,
                HeaderName::from_static("retry-after-ms"),
            ])
            .max_age(Duration::from_hours(1)),
    )
}
