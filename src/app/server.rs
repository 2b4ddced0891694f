//! One running service: what `mapleai serve` starts, and what tests start on a free port.

mod start;
mod stop;
mod tasks;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{AppError, ops::OpsListener};
use crate::service::{Services, readiness::Readiness};
use crate::{http::edge::Edge, lifecycle::Lifecycle};
use configuration::UsageConfig;
use store::Database;
use telemetry::traces::Traces;

/// Why the service cannot go on, once that is so.
#[derive(Clone, Default)]
pub struct Failed(Arc<Mutex<Option<AppError>>>);

impl Failed {
    pub fn take(&self) -> Option<AppError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, error: AppError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// A running service. Ends only by [`Server::stop`].
pub struct Server {
    address: SocketAddr,
    lifecycle: Lifecycle,
    /// The primary, then the replicas.
    databases: Vec<Database>,
    services: Services,
    readiness: Readiness,
    ops: Option<OpsListener>,
    failure: Failed,
    traces: Option<Traces>,
    edge: Edge,
    drain_delay: Duration,
    drain_timeout: Duration,
    records: UsageConfig,
}

impl Server {
    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Where operations listen, with the port that was chosen.
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.ops.as_ref().map(OpsListener::address)
    }

    /// To be looked at after it has stopped.
    pub fn failure(&self) -> Failed {
        self.failure.clone()
    }

    /// The route table that the edge enforces.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }
}
