//! Health of the service and its dependencies, checked once for all simultaneous callers.

mod check;
mod watchdog;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tokio::{runtime::Handle, sync::watch};
use tokio_util::task::TaskTracker;

use super::usage::Usage;
use cache::redis::Redis;
use check::{Component, Listed, Remembered};
use domain::clock::Clock;
use provider::Registry;
use store::{Database, replica::Replica};
pub use watchdog::Watchdog;

/// A report is shared by all callers for this long: a storm of probes costs one check.
pub const FRESH: Duration = Duration::from_secs(2);
/// A slower check has failed. Together with the wait for a report in progress it stays below the 5 s that callers are
/// promised.
const CHECK_LIMIT: Duration = Duration::from_secs(2);
const REPORT_LIMIT: Duration = Duration::from_secs(4);

/// Ordered by severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Pass,
    /// A component is away that the service can do without for a while.
    Warn,
    /// The service cannot do its work.
    Fail,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The database's role or the provider's name.
    pub component: String,
    pub status: Status,
    pub latency: Duration,
    pub time: DateTime<Utc>,
    /// Details for operators: hosts, errors and counts.
    pub detail: String,
    taken: Instant,
}

impl Finding {
    pub fn age(&self) -> Duration {
        self.taken.elapsed()
    }
}

/// The components of a report, by the names that the deployment strategy gives them.
#[derive(Debug, Clone)]
pub struct Report {
    pub database_connection: Vec<Finding>,
    pub usage_records: Vec<Finding>,
    /// Empty where no Redis is configured.
    pub redis_connection: Vec<Finding>,
    pub external_services: Vec<Finding>,
    taken: Instant,
}

impl Report {
    /// The worst of its findings.
    pub fn status(&self) -> Status {
        [
            &self.database_connection,
            &self.redis_connection,
            &self.external_services,
            &self.usage_records,
        ]
        .into_iter()
        .map(|findings| worst(findings))
        .max()
        .unwrap_or(Status::Pass)
    }
}

/// Without checks the report passes.
pub fn worst(findings: &[Finding]) -> Status {
    findings
        .iter()
        .map(|finding| finding.status)
        .max()
        .unwrap_or(Status::Pass)
}

/// The databases to check, with the primary first.
#[derive(Clone)]
pub struct Databases {
    pub primary: Database,
    pub replicas: Vec<Replica>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<HealthInner>);

struct HealthInner {
    databases: Vec<Component>,
    redis: Vec<Component>,
    usage: Component,
    providers: Vec<Component>,
    clock: Clock,
    /// Checks run where the pools live, and survive a cancelled probe.
    tasks: TaskTracker,
    runtime: Handle,
    current: Mutex<Current>,
    pub(super) listed: Listed,
    watchdog: Watchdog,
}

type Running = watch::Receiver<Option<Arc<Report>>>;

#[derive(Default)]
struct Current {
    last: Option<Arc<Report>>,
    running: Option<Running>,
}

impl Health {
    /// Must be called in the runtime that serves requests.
    pub fn new(
        databases: Databases,
        redis: Option<Redis>,
        usage: Usage,
        registry: &Registry,
        clock: Clock,
        tasks: TaskTracker,
    ) -> Self {
        let replicas = databases.replicas.into_iter();
        let inner = HealthInner {
            databases: [
                Component::Primary(databases.primary.clone()),
                Component::Indexes(databases.primary, Remembered::default()),
            ]
            .into_iter()
            .chain(replicas.map(Component::Replica))
            .collect(),
            usage: Component::Usage(Box::new(usage)),
            redis: redis.into_iter().map(Component::Redis).collect(),
            providers: registry
                .upstreams()
                .iter()
                .map(|upstream| Component::Provider(Arc::clone(upstream)))
                .collect(),
            clock,
            tasks,
            runtime: Handle::current(),
            current: Mutex::default(),
            listed: Listed::default(),
            watchdog: Watchdog::default(),
        };
        Self(Arc::new(inner))
    }

    /// The present report, at most [`FRESH`] old. `None` if it was not ready in time, which a probe must count as a
    /// failure.
    pub async fn report(&self) -> Option<Arc<Report>> {
        let mut running = match self.current() {
            Ok(report) => return Some(report),
            Err(running) => running,
        };
        let report = tokio::time::timeout(REPORT_LIMIT, running.wait_for(Option::is_some)).await;
        report.ok()?.ok()?.clone()
    }

    /// Whether the runtime runs its tasks. Nothing outside the process can change the result.
    pub fn is_alive(&self) -> bool {
        self.0.watchdog.is_alive()
    }

    pub fn watchdog(&self) -> &Watchdog {
        &self.0.watchdog
    }

    /// A fresh report, or the one in progress.
    fn current(&self) -> Result<Arc<Report>, Running> {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &current.last
            && last.taken.elapsed() < FRESH
        {
            return Ok(Arc::clone(last));
        }
        if let Some(running) = &current.running {
            return Err(running.clone());
        }
        let (sender, receiver) = watch::channel(None);
        current.running = Some(receiver.clone());
        let health = self.clone();
        let checking = async move {
            let report = Arc::new(health.0.check().await);
            let mut current = health.0.current.lock().unwrap_or_else(PoisonError::into_inner);
            current.last = Some(Arc::clone(&report));
            current.running = None;
            drop(current);
            sender.send_replace(Some(report));
        };
        self.0.tasks.spawn_on(checking, &self.0.runtime);
        Err(receiver)
    }
}

impl HealthInner {
    async fn check(&self) -> Report {
        let databases = self.databases.iter().map(|component| self.check_one(component));
        let providers = self.providers.iter().map(|component| self.check_one(component));
        let redis = self.redis.iter().map(|component| self.check_one(component));
        let (database_connection, redis_connection, external_services, usage) = tokio::join!(
            join_all(databases),
            join_all(redis),
            join_all(providers),
            self.check_one(&self.usage)
        );
        Report {
            database_connection,
            usage_records: vec![usage],
            redis_connection,
            external_services,
            taken: Instant::now(),
        }
    }

    async fn check_one(&self, component: &Component) -> Finding {
        let taken = Instant::now();
        let outcome = tokio::time::timeout(CHECK_LIMIT, component.check(&self.listed)).await;
        let (status, detail) = outcome.unwrap_or_else(|_| {
            let status = component.when_away();
            (status, format!("no answer within {CHECK_LIMIT:?}"))
        });
        Finding {
            component: component.name().to_owned(),
            status,
            latency: taken.elapsed(),
            time: self.clock.now(),
            detail,
            taken,
        }
    }
}
