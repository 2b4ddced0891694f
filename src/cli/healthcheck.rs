//! `mapleai healthcheck`: whether the instance that runs with this configuration serves, for images that have no curl.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Method, StatusCode};

use super::{
    CliError,
    client::{exchange, here},
};
use configuration::{Config, load::Sources};

/// Above what readiness itself may take.
const LIMIT: Duration = Duration::from_secs(4);

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct HealthCheck {
    /// Only whether the process works, as Kubernetes' livenessProbe asks, instead of whether it is ready to serve
    #[arg(long)]
    liveness: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HealthCheckError {
    #[error("server.port is 0, so that nobody can tell where it listens")]
    NoPort,
    #[error("no answer from {0}")]
    Unreachable(std::net::SocketAddr, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer from {0} within {LIMIT:?}")]
    Slow(std::net::SocketAddr),
    #[error("{path} answered {status}: {body}")]
    Unwell {
        path: &'static str,
        status: StatusCode,
        body: String,
    },
}

/// The main listener, since that is what callers use.
pub(super) fn run(sources: &Sources, check: HealthCheck) -> Result<(), CliError> {
    let server = Config::load(sources)?.server;
    if server.port == 0 {
        return Err(HealthCheckError::NoPort.into());
    }
    let address = here((server.host, server.port).into());
    let path = if check.liveness {
        "/api/health?probe=liveness"
    } else {
        "/api/ready"
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let asking = exchange(address, Method::GET, path, None, Bytes::new());
    let answer = runtime.block_on(async { tokio::time::timeout(LIMIT, asking).await });
    let (status, body) = answer
        .map_err(|_| HealthCheckError::Slow(address))?
        .map_err(|source| HealthCheckError::Unreachable(address, source))?;
    if status == StatusCode::OK {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&body).chars().take(500).collect();
    Err(HealthCheckError::Unwell { path, status, body }.into())
}
