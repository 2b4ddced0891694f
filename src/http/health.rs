//! `/api/health`, `/api/ready` and `/metrics`: what probes and Prometheus ask, on the main listener and on that for
//! operations.

use axum::{
    Json,
    extract::{FromRequestParts, Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::service::{
    health::{Finding, Health, Report, Status, worst},
    readiness::Readiness,
};
use crate::{api_error::ApiError, auth::Caller};

/// Whoever may see hosts, errors and counts.
#[derive(Clone, Copy)]
pub struct IsOperator(pub bool);

impl<S: Sync> FromRequestParts<S> for IsOperator {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(matches!(parts.extensions.get::<Caller>(), Some(Caller::Operator))))
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HealthQuery {
    /// `liveness` asks only whether the process itself works. Nothing outside it can fail that.
    #[param(value_type = Option<String>, example = "liveness", pattern = "^liveness$")]
    probe: Option<Box<str>>,
}

/// One component of a check; for operators.
#[derive(Serialize, ToSchema)]
pub struct ComponentBody {
    /// `pass`, `warn` or `fail`.
    status: &'static str,
    latency_ms: f64,
    time: chrono::DateTime<chrono::Utc>,
    age_ms: u64,
    detail: String,
}

/// What one check found.
#[derive(Serialize, ToSchema)]
pub struct CheckBody {
    /// `pass`, `warn` or `fail`: the worst of its components.
    status: &'static str,
    /// Of the slowest component.
    latency_ms: f64,
    /// When it was checked; absent where there is nothing to check.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<chrono::DateTime<chrono::Utc>>,
    /// How long ago that was. Checks are shared by all callers for two seconds.
    age_ms: u64,
    /// For operators, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    components: Option<std::collections::BTreeMap<String, ComponentBody>>,
}

#[derive(Serialize, ToSchema)]
pub struct ChecksBody {
    database_connection: CheckBody,
    redis_connection: CheckBody,
    external_services: CheckBody,
    usage_records: CheckBody,
}

#[derive(Serialize, ToSchema)]
pub struct HealthBody {
    /// `pass`; `warn` if something is away that the service can do without; `fail` if it cannot do its work.
    status: &'static str,
    /// Absent for `probe=liveness`.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<ChecksBody>,
    /// For operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
}

#[derive(Serialize, ToSchema)]
pub struct ConditionsBody {
    application_started: bool,
    database_migrations: bool,
    cache_warmup: bool,
}

#[derive(Serialize, ToSchema)]
pub struct ReadyBody {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// What is still waited for, or `draining`.
    pending: Vec<&'static str>,
    checks: ConditionsBody,
}

fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn age(finding: &Finding) -> u64 {
    u64::try_from(finding.age().as_millis()).unwrap_or(u64::MAX)
}

fn check(findings: &[Finding], detailed: bool) -> CheckBody {
    let components = findings.iter().map(|finding| {
        let body = ComponentBody {
            status: finding.status.as_str(),
            latency_ms: milliseconds(finding.latency),
            time: finding.time,
            age_ms: age(finding),
            detail: finding.detail.clone(),
        };
        (finding.component.clone(), body)
    });
    CheckBody {
        status: worst(findings).as_str(),
        latency_ms: findings
            .iter()
            .map(|finding| milliseconds(finding.latency))
            .fold(0.0, f64::max),
        time: findings.iter().map(|finding| finding.time).min(),
        age_ms: findings.iter().map(age).max().unwrap_or(0),
        components: detailed.then(|| components.collect()),
    }
}

fn health_body(report: &Report, detailed: bool) -> HealthBody {
    HealthBody {
        status: report.status().as_str(),
        checks: Some(ChecksBody {
            database_connection: check(&report.database_connection, detailed),
            redis_connection: check(&report.redis_connection, detailed),
            external_services: check(&report.external_services, detailed),
            usage_records: check(&report.usage_records, detailed),
        }),
        version: detailed.then_some(env!("CARGO_PKG_VERSION")),
    }
}

/// Whether the service and what it needs are well. A database that is away is a failure, Redis or a provider a warning.
/// With `probe=liveness`: whether the process itself works, whatever it needs.
#[utoipa::path(get, path = "/api/health", tag = "Operation", params(HealthQuery), responses(
    (status = 200, description = "Well, or able to do its work all the same", body = HealthBody, content_type = "application/health+json"),
    (status = 503, description = "Not able to do its work", body = HealthBody, content_type = "application/health+json"),
))]
pub async fn health(
    State(health): State<Health>,
    IsOperator(detailed): IsOperator,
    query: Result<Query<HealthQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let probe = query.map_err(|_| unknown_probe())?.0.probe;
    let body = match probe.as_deref() {
        Some("liveness") => only(if health.is_alive() { Status::Pass } else { Status::Fail }),
        Some(_) => return Err(unknown_probe()),
        None => match health.report().await {
            Some(report) => health_body(&report, detailed),
            None => only(Status::Fail),
        },
    };
    let code = if body.status == Status::Fail.as_str() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let mut response = (code, Json(body)).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/health+json"),
    );
    Ok(response)
}

fn only(status: Status) -> HealthBody {
    HealthBody {
        status: status.as_str(),
        checks: None,
        version: None,
    }
}

fn unknown_probe() -> ApiError {
    ApiError::invalid(vec![domain::field::FieldFault {
        field: "probe".into(),
        message: "must be liveness or absent, and is the only parameter".into(),
    }])
}

/// Whether the service may be sent requests.
#[utoipa::path(get, path = "/api/ready", tag = "Operation", responses(
    (status = 200, description = "Ready", body = ReadyBody),
    (status = 503, description = "Starting, or draining before it stops", body = ReadyBody),
))]
pub async fn ready(State(readiness): State<Readiness>) -> Response {
    let conditions = readiness.conditions().await;
    let pending = conditions.pending();
    let (code, status) = if pending.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    let checks = ConditionsBody {
        application_started: conditions.application_started,
        database_migrations: conditions.database_migrations,
        cache_warmup: conditions.cache_warmup,
    };
    (
        code,
        Json(ReadyBody {
            status,
            pending,
            checks,
        }),
    )
        .into_response()
}

/// Metrics in Prometheus text.
pub async fn metrics(State(handle): State<PrometheusHandle>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        handle.render(),
    )
        .into_response()
}
