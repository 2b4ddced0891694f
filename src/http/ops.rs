//! The listener for operations: probes in full, metrics, and the log's level. It is for the cluster, not for the world;
//! what changes anything needs the operations token all the same.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRef, Request, State},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderName, header};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};

use super::{
    cache_control::NO_STORE,
    edge::{RequestId, check_framing},
    extract::Json as JsonBody,
    health,
    render::{Dialect, render},
};
use crate::service::{health::Health, readiness::Readiness};
use crate::{
    api_error::ApiError,
    auth::{Caller, authenticator::Authenticator},
};
use configuration::{Environment, log::tells_details};
use domain::field::FieldFault;
use domain::ids::OrganizationId;
use gateway::caches::{Caches, admin::CacheReport};
use telemetry::logging::{LevelError, LogControl};

const LARGEST_BODY: usize = 4 * 1024;
/// A level is changed for no longer, so that a forgotten `debug` does not fill the disks.
const MAX_CHANGE_DURATION: Duration = Duration::from_hours(24);
/// The same for `debug` and `trace` in production, which are never for good there.
const MAX_DETAILS_DURATION: Duration = Duration::from_hours(1);

#[derive(Clone)]
pub struct OpsState {
    pub health: Health,
    pub readiness: Readiness,
    pub metrics: PrometheusHandle,
    pub authenticator: Authenticator,
    pub caches: Caches,
    /// Absent where the process has no log of its own, as in tests.
    pub log: Option<LogControl>,
    pub environment: Environment,
}

impl FromRef<OpsState> for Health {
    fn from_ref(state: &OpsState) -> Self {
        state.health.clone()
    }
}

impl FromRef<OpsState> for Readiness {
    fn from_ref(state: &OpsState) -> Self {
        state.readiness.clone()
    }
}

impl FromRef<OpsState> for PrometheusHandle {
    fn from_ref(state: &OpsState) -> Self {
        state.metrics.clone()
    }
}

/// The routes.
pub fn router(state: OpsState) -> Router {
    Router::new()
        .route("/api/health", get(health::health))
        .route("/api/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/log-level", get(log_level).put(set_log_level))
        .route("/cache", get(cache))
        .route("/cache/purge", post(purge_cache))
        .fallback(|| async { ApiError::not_found() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer((from_fn(frame), DefaultBodyLimit::max(LARGEST_BODY)))
        .with_state(state)
}

/// Whoever reaches this listener is an operator as far as reading goes. Failures are written as problem documents.
async fn frame(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(Caller::Operator);
    let mut response = match check_framing(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    if let Some(error) = response.extensions_mut().remove::<std::sync::Arc<ApiError>>() {
        response = render(&error, Dialect::Problem, id.as_str(), None);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(HeaderName::from_static("x-request-id"), id.header());
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLevelBody {
    /// As `log.level` in the configuration.
    level: String,
    /// Until it falls back to what is configured; for good if not said, but for debug and trace in production: those for an hour.
    #[serde(default, with = "humantime_serde")]
    r#for: Option<Duration>,
}

#[derive(Serialize)]
struct LogLevelAnswer {
    level: String,
    configured: String,
    /// Until the configured level is restored.
    seconds_left: Option<u64>,
}

async fn log_level(State(state): State<OpsState>) -> Result<Response, ApiError> {
    Ok(Json(answer(&log_of(&state)?)).into_response())
}

async fn set_log_level(
    State(state): State<OpsState>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<LogLevelBody>,
) -> Result<Response, ApiError> {
    state.authenticator.operator(&headers)?;
    let log = log_of(&state)?;
    let refused = |field: &'static str, message: String| {
        ApiError::invalid(vec![FieldFault {
            field: field.into(),
            message,
        }])
    };
    if body.r#for.is_some_and(|span| span > MAX_CHANGE_DURATION) {
        return Err(refused("for", "must not be longer than 24h".to_owned()));
    }
    let mut span = body.r#for;
    if state.environment == Environment::Production && tells_details(&body.level) {
        if span.is_some_and(|span| span > MAX_DETAILS_DURATION) {
            return Err(refused(
                "for",
                "must not be longer than 1h for debug and trace in production".to_owned(),
            ));
        }
        span = span.or(Some(MAX_DETAILS_DURATION));
    }
    match log.set(&body.level, span) {
        Ok(()) => Ok(Json(answer(&log)).into_response()),
        Err(error @ LevelError::Filter(_)) => Err(refused("level", error.to_string())),
        Err(error @ LevelError::Gone(_)) => Err(ApiError::internal().with_source(error)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeBody {
    /// All if absent.
    class: Option<String>,
    /// Every organisation's if absent.
    organization: Option<OrganizationId>,
}

async fn cache(State(state): State<OpsState>) -> Json<CacheReport> {
    Json(state.caches.report())
}

async fn purge_cache(
    State(state): State<OpsState>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<PurgeBody>,
) -> Result<Response, ApiError> {
    state.authenticator.operator(&headers)?;
    let reach = state.caches.purge(body.class.as_deref(), body.organization).await?;
    Ok(super::caches::purged(reach))
}

fn log_of(state: &OpsState) -> Result<LogControl, ApiError> {
    state.log.clone().ok_or_else(ApiError::not_found)
}

fn answer(log: &LogControl) -> LogLevelAnswer {
    let (level, left) = log.current();
    LogLevelAnswer {
        level,
        configured: log.configured().to_owned(),
        seconds_left: left.map(|left| left.as_secs()),
    }
}
