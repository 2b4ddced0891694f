//! `/api/health`, `/api/ready` and `/metrics`: what probes and Prometheus ask.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::store::{Database, migrations};

/// A check's outcome is shared by all callers for this long: a storm of probes costs one check.
const FRESH: Duration = Duration::from_secs(2);
/// One look at the migrations takes no longer.
const READY_LIMIT: Duration = Duration::from_secs(2);

/// What the process knows about its own fitness. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    database: Database,
    draining: AtomicBool,
    /// Set once all start-up conditions held; a dependency's blip later does not unset it.
    ready: AtomicBool,
    last: Mutex<Option<(Instant, bool, u64)>>,
}

impl Health {
    pub fn new(database: Database) -> Self {
        let inner = Inner {
            database,
            draining: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            last: Mutex::default(),
        };
        Self(Arc::new(inner))
    }

    /// From now on the load balancer is told to send nobody.
    pub fn start_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the database answers, and in how many milliseconds.
    async fn database(&self) -> (bool, u64) {
        let mut last = self.0.last.lock().await;
        if let Some((at, up, latency)) = *last
            && at.elapsed() < FRESH
        {
            return (up, latency);
        }
        let started = Instant::now();
        let up = self.0.database.probe().await.is_ok();
        let latency = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        *last = Some((Instant::now(), up, latency));
        (up, latency)
    }

    /// What still keeps the service from being ready.
    async fn pending(&self) -> Vec<&'static str> {
        if self.0.draining.load(Ordering::Relaxed) {
            return vec!["draining"];
        }
        if self.0.ready.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let look = tokio::time::timeout(READY_LIMIT, migrations::pending(&self.0.database)).await;
        if matches!(look, Ok(Ok(pending)) if pending.is_empty()) {
            self.0.ready.store(true, Ordering::Relaxed);
            return Vec::new();
        }
        vec!["database_migrations"]
    }
}

#[derive(Serialize, ToSchema)]
pub struct CheckBody {
    /// `pass` or `fail`.
    status: &'static str,
    latency_ms: u64,
}

#[derive(Serialize, ToSchema)]
pub struct ChecksBody {
    database_connection: CheckBody,
}

#[derive(Serialize, ToSchema)]
pub struct HealthBody {
    /// `pass`, or `fail` if the service cannot do its work.
    status: &'static str,
    checks: ChecksBody,
}

#[derive(Serialize, ToSchema)]
pub struct ReadyBody {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// What is still waited for.
    pending: Vec<&'static str>,
}

/// Whether the service and what it needs are well.
#[utoipa::path(get, path = "/api/health", tag = "Operation", responses(
    (status = 200, description = "All is well", body = HealthBody, content_type = "application/health+json"),
    (status = 503, description = "The database does not answer", body = HealthBody, content_type = "application/health+json"),
))]
pub async fn health(State(health): State<Health>) -> Response {
    let (up, latency_ms) = health.database().await;
    let status = if up { "pass" } else { "fail" };
    let body = HealthBody {
        status,
        checks: ChecksBody {
            database_connection: CheckBody { status, latency_ms },
        },
    };
    let code = if up {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut response = (code, Json(body)).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/health+json"),
    );
    response
}

/// Whether the service may be sent requests.
#[utoipa::path(get, path = "/api/ready", tag = "Operation", responses(
    (status = 200, description = "Ready", body = ReadyBody),
    (status = 503, description = "Starting, or draining before it stops", body = ReadyBody),
))]
pub async fn ready(State(health): State<Health>) -> Response {
    let pending = health.pending().await;
    let (code, status) = if pending.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    (code, Json(ReadyBody { status, pending })).into_response()
}

/// Metrics in Prometheus text.
pub async fn metrics(State(handle): State<PrometheusHandle>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        handle.render(),
    )
        .into_response()
}
