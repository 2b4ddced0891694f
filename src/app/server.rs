//! One running service: what `mapleai serve` starts, and what tests start on a free port.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use super::{AppError, build, listener};
use crate::{
    auth::gate::Gate,
    config::Config,
    crypto::csrf::CsrfSigner,
    domain::clock::Clock,
    http::{
        edge::Edge,
        health::Health,
        router::{self, EdgeRules},
    },
    lifecycle::{Lifecycle, wait_for},
    provider::Registry,
    service::{Services, usage::journal::Journal},
    state::{AppState, Handles},
    store::Database,
    task,
    telemetry::metrics::{DATABASE_CONNECTIONS, DATABASE_UP, UPKEEP_INTERVAL},
    web::Site,
};

/// For streams to send their last event once their time is up.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// For work that outlives its request, usage records and the pool, one after the other.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A running service. Ends only by [`Server::stop`].
pub struct Server {
    address: SocketAddr,
    lifecycle: Lifecycle,
    database: Database,
    services: Services,
    health: Health,
    edge: Edge,
    drain_delay: Duration,
    drain_timeout: Duration,
}

impl Server {
    /// Listens and starts the background tasks. Does not wait for the database: readiness tells.
    pub async fn start(config: Config, metrics: PrometheusHandle) -> Result<Self, AppError> {
        Self::start_with(config, metrics, Clock::system()).await
    }

    /// The same with a clock of the caller's.
    pub async fn start_with(config: Config, metrics: PrometheusHandle, clock: Clock) -> Result<Self, AppError> {
        // Once per process; a second server in the same process finds it done.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let lifecycle = Lifecycle::default();
        let database = Database::new(&config.database)?;
        let mut registry = Registry::build(&config.providers, &config.models)?;
        registry.discover().await;
        let usage = &config.usage;
        let journal = usage.journal_dir.as_deref();
        let journal = journal.map(|directory| Journal::new(directory, usage.journal_max_bytes));
        let services = build::services(&config, &database, Arc::new(registry), &clock, &lifecycle, journal)?;
        // Before the first request: its record is to be in the journal.
        services.usage.tend_journal().await;

        let active_first = config.auth.signing_keys.get(&config.auth.active_key).into_iter();
        let csrf = CsrfSigner::new(active_first.chain(config.auth.signing_keys.values()));
        let gate = Gate::new(
            services.sessions.clone(),
            services.api_keys.clone(),
            csrf,
            config.server.ops_token.clone(),
        );
        let https = config.server.public_url.scheme() == "https";
        let health = Health::new(database.clone());
        let rules = EdgeRules {
            request_timeout: config.server.request_timeout,
            body_limit: config.server.body_limit,
            cors_origins: config.server.cors_origins.clone(),
            guard_metrics: !config.environment.is_development(),
        };
        let (router, table, document) = router::routes(&rules).into_parts();
        let state = AppState::new(Handles {
            services: services.clone(),
            health: health.clone(),
            metrics: metrics.clone(),
            site: Site::new(
                &config.server.public_url,
                gate.clone(),
                !config.environment.is_development(),
            ),
            openapi: document.to_json()?.into(),
        });
        let edge = Edge::new(table, gate, config.server.trusted_proxies.clone(), https);
        let router = router::build(router, edge.clone(), state, &rules);

        let address = SocketAddr::new(config.server.host, config.server.port);
        let listen = |source| AppError::Listen { address, source };
        let socket = TcpListener::bind(address).await.map_err(listen)?;
        let address = socket.local_addr().map_err(listen)?;
        let limits = listener::Limits {
            header_read_timeout: config.server.header_read_timeout,
            idle_timeout: config.server.idle_timeout,
            max_connections: config.server.max_connections,
        };
        lifecycle.run("listener", listener::serve(socket, router, limits, lifecycle.clone()));
        start_tasks(&lifecycle, &services, &database, metrics, config.usage.flush_interval);
        tracing::info!(target: "mapleai::lifecycle", %address, environment = config.environment.as_str(), version = env!("CARGO_PKG_VERSION"), "listening");
        Ok(Self {
            address,
            lifecycle,
            database,
            services,
            health,
            edge,
            drain_delay: config.server.drain_delay,
            drain_timeout: config.server.drain_timeout,
        })
    }

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

    /// The route table that the edge enforces.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Ends in order: say so, stop accepting, let requests finish, keep what is to be kept, close.
    pub async fn stop(self) {
        let started = Instant::now();
        tracing::info!(target: "mapleai::lifecycle", phase = 1, "stopping: readiness says no, connections are still accepted");
        self.health.start_draining();
        tokio::time::sleep(self.drain_delay).await;
        tracing::info!(target: "mapleai::lifecycle", phase = 2, open_connections = self.lifecycle.connections.len(), "no new connections");
        self.lifecycle.stop_accepting.cancel();
        if !wait_for(&self.lifecycle.connections, self.drain_timeout).await {
            tracing::warn!(target: "mapleai::lifecycle", phase = 3, open_connections = self.lifecycle.connections.len(), "time is up for open streams");
        }
        self.lifecycle.end_streams.cancel();
        wait_for(&self.lifecycle.connections, LAST_WORDS).await;
        let kept = wait_for(&self.lifecycle.detached, FLUSH_LIMIT).await;
        self.lifecycle.stop_tasks.cancel();
        wait_for(&self.lifecycle.background, FLUSH_LIMIT).await;
        let (written, left) = task::usage_flush::drain(&self.services.usage, FLUSH_LIMIT).await;
        let journalled = self.services.usage.close_journal().await;
        let lost = left.saturating_sub(journalled);
        tracing::info!(target: "mapleai::lifecycle", phase = 4, written, journalled, lost, all_answers_kept = kept, "usage records flushed");
        let _ = self.services.api_keys.note_used().await;
        self.database.close(CLOSE_LIMIT).await;
        tracing::info!(target: "mapleai::lifecycle", phase = 5, seconds = started.elapsed().as_secs_f32(), "stopped");
    }
}

fn start_tasks(
    lifecycle: &Lifecycle,
    services: &Services,
    database: &Database,
    metrics: PrometheusHandle,
    flush_interval: Duration,
) {
    let stop = || lifecycle.stop_tasks.clone();
    lifecycle.run(
        "usage flush",
        task::usage_flush::run(services.usage.clone(), flush_interval, stop()),
    );
    lifecycle.run(
        "usage journal",
        task::usage_journal::run(services.usage.clone(), stop()),
    );
    lifecycle.run(
        "usage replay",
        task::usage_journal::replay(services.usage.clone(), stop()),
    );
    lifecycle.run(
        "key use",
        task::usage_flush::note_key_use(services.api_keys.clone(), stop()),
    );
    lifecycle.run(
        "sweep",
        task::sweep::run(services.answers.clone(), services.sessions.clone(), stop()),
    );
    let watched = database.clone();
    let token = stop();
    lifecycle.run("database watch", async move { watched.watch(token).await });
    let (database, token) = (database.clone(), stop());
    lifecycle.run("metrics upkeep", async move {
        let up = metrics::gauge!(DATABASE_UP);
        let connections =
            ["in_use", "idle", "max"].map(|state| metrics::gauge!(DATABASE_CONNECTIONS, "state" => state));
        let process = metrics_process::Collector::default();
        while tokio::time::timeout(UPKEEP_INTERVAL, token.cancelled()).await.is_err() {
            metrics.run_upkeep();
            process.collect();
            up.set(if database.is_down() { 0.0 } else { 1.0 });
            let (in_use, idle, max) = database.connections();
            for (gauge, value) in connections.iter().zip([in_use, idle, max]) {
                gauge.set(value as f64);
            }
        }
    });
}
