//! Putting a server together and letting it listen.

use std::{net::SocketAddr, sync::Arc};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use super::{Failed, Server, tasks};
use crate::service::{Services, health::Health, readiness::Readiness};
use crate::{
    app::{
        AppError, build, descriptors,
        gauges::Observed,
        listener, local_servers,
        ops::OpsListener,
        prepare,
        rotation::{Holders, Rotation},
        signing_keys,
    },
    auth::authenticator::Authenticator,
    http::{
        cache_control::CacheControl,
        edge::Edge,
        openapi,
        ops::{self, OpsState},
        router::{self, EdgeRules},
    },
    lifecycle::Lifecycle,
    state::{AppState, Handles},
    web::Site,
};
use cache::redis::Redis;
use configuration::{Config, load::Sources};
use crypto::{csrf::CsrfSigner, signing_keys::KeyRing};
use domain::clock::Clock;
use gateway::usage::journal::Journal;
use provider::Registry;
use store::{Database, replica::Watch};
use telemetry::{error_chain, logging};

/// One address's part of the connections, where nothing else is configured.
const TENTH: usize = 10;

impl Server {
    /// Listens and starts the background tasks. Does not wait for the database: readiness tells.
    pub async fn start(config: Config, metrics: PrometheusHandle, sources: Sources) -> Result<Self, AppError> {
        Box::pin(Self::start_with(config, metrics, Clock::system(), sources)).await
    }

    /// The same with a clock of the caller's.
    pub async fn start_with(
        config: Config,
        metrics: PrometheusHandle,
        clock: Clock,
        sources: Sources,
    ) -> Result<Self, AppError> {
        // Once per process; a second server in the same process finds it done.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let lifecycle = Lifecycle::default();
        let database = Database::new(&config.database)?;
        let mut registry = Registry::build(&config.providers, &config.models, config.cache.answers)?;
        let found = local_servers::look(&config).await;
        local_servers::add(&mut registry, found, config.cache.answers)?;
        let registry = Arc::new(registry);
        let traces = build::exporter(&config)?;
        let usage = &config.usage;
        let journal = usage.journal_dir.as_deref();
        let journal = journal.map(|directory| Journal::new(directory, usage.journal_max_bytes));
        let redis = Redis::configured(&config.redis)?;
        let keys = signing_keys(&config)?;
        let caches = build::caches(&config, redis.clone(), &keys, &clock, &lifecycle)?;
        let databases = build::databases(&config, &database)?;
        let services = build::services(
            &config,
            &databases,
            &keys,
            &caches,
            Arc::clone(&registry),
            &clock,
            &lifecycle,
            traces.clone(),
            journal,
        )?;
        // Before the first request: its record is to be in the journal.
        services.usage.open_journal().await;

        let csrf = CsrfSigner::new(keys.secrets());
        let authenticator = Authenticator::new(
            services.sessions.clone(),
            services.api_keys.clone(),
            csrf,
            config.server.ops_token.clone(),
            !config.environment.allows_http_cookies(),
            config.server.body_timeout.min(config.server.request_timeout),
        );
        let https = config.server.public_url.scheme() == "https";
        let readiness = Readiness::new(database.clone());
        let health = Health::new(
            databases.clone(),
            redis.clone(),
            services.usage.clone(),
            &registry,
            clock.clone(),
            lifecycle.detached.clone(),
        );
        let rules = EdgeRules {
            request_timeout: config.server.request_timeout,
            body_limit: config.server.body_limit,
            body_timeout: config.server.body_timeout,
            cors_origins: config.server.cors_origins.clone(),
            public_metrics: config.server.public_metrics,
            open_registration: config.auth.open_registration,
        };
        let (router, table, document) = router::routes(&rules).into_parts();
        let state = AppState::new(Handles {
            services: services.clone(),
            health: health.clone(),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            site: Site::new(
                &config.server.public_url,
                authenticator.clone(),
                !config.environment.allows_http_cookies(),
            ),
            openapi: openapi::Served::new(&document.to_json()?),
        });
        let ops_state = OpsState {
            health: health.clone(),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            authenticator: authenticator.clone(),
            caches: caches.clone(),
            log: logging::control(),
            environment: config.environment,
        };
        let edge = Edge::new(
            table,
            authenticator.clone(),
            config.server.trusted_proxies.clone(),
            https,
            traces.clone(),
            CacheControl::new(&config.cache.http),
            services.completions.memory().clone(),
            only_host(&config),
        );
        let router = router::build(router, edge.clone(), state, &rules);

        let address = SocketAddr::new(config.server.host, config.server.port);
        let listen = |source| AppError::Listen { address, source };
        let socket = TcpListener::bind(address).await.map_err(listen)?;
        let address = socket.local_addr().map_err(listen)?;
        let max_connections = descriptors::connections(config.server.max_connections);
        let per_address = config.server.max_connections_per_address;
        let limits = listener::ListenerLimits {
            header_read_timeout: config.server.header_read_timeout,
            idle_timeout: config.server.idle_timeout,
            max_connections,
            max_connections_per_address: per_address.unwrap_or(max_connections / TENTH).max(1),
            proxies: config.server.trusted_proxies.clone(),
        };
        let ops = config
            .server
            .ops_addr
            .map(|address| OpsListener::start(address, ops::router(ops_state)))
            .transpose()?;
        lifecycle.run(
            "listener",
            listener::serve(socket, router, limits, lifecycle.clone(), services.usage.before_write()),
        );
        let observed = Observed {
            databases: std::iter::once(("primary", database.clone()))
                .chain(
                    databases
                        .replicas
                        .iter()
                        .map(|replica| (replica.role(), replica.database().clone())),
                )
                .collect(),
            tiers: caches.tiers.clone(),
            activity: services.activity.clone(),
            prometheus: metrics,
        };
        tasks::start(tasks::Parts {
            lifecycle: &lifecycle,
            services: &services,
            tiers: &caches.tiers,
            readiness: &readiness,
            watchdog: health.watchdog().clone(),
            observed,
            copies: Watch::new(&database, databases.replicas.clone()),
            flush_interval: config.usage.flush_interval,
        });
        let holders = Holders {
            primary: database.clone(),
            replicas: databases.replicas.clone(),
            redis,
            tiers: caches.tiers.clone(),
            registry,
            sessions: services.sessions.clone(),
            authenticator,
        };
        // Page tokens are as long-lived as sessions.
        let lifetime = config.auth.session_ttl.max(config.auth.access_token_ttl);
        let rotation = Rotation::new(sources, holders, config.clone(), KeyRing::new(keys, lifetime), clock);
        lifecycle.run("secrets", rotation.watch(lifecycle.stop_tasks.clone()));
        let operations = ops.as_ref().map(|ops| ops.address().to_string());
        tracing::info!(target: "mapleai::lifecycle", phase = 2, %address, operations, environment = config.environment.as_str(), version = env!("CARGO_PKG_VERSION"), "listening");
        let failure = Failed::default();
        let preparing = prepare(
            config.clone(),
            database.clone(),
            services.clone(),
            readiness.clone(),
            &lifecycle,
            failure.clone(),
        );
        lifecycle.run("preparation", preparing);
        Ok(Self {
            address,
            lifecycle,
            databases: std::iter::once(database)
                .chain(databases.replicas.iter().map(|replica| replica.database().clone()))
                .collect(),
            services,
            readiness,
            ops,
            failure,
            traces,
            edge,
            drain_delay: config.server.drain_delay,
            drain_timeout: config.server.drain_timeout,
            records: config.usage,
        })
    }
}

/// Development is served at a name of the machine's own, or at the one that it was given; elsewhere a proxy sees to names.
fn only_host(config: &Config) -> Option<Box<str>> {
    let own = config.server.public_url.host_str().unwrap_or_default();
    config
        .environment
        .is_development()
        .then(|| own.to_ascii_lowercase().into())
}

/// Prepares the service while it answers probes already. What cannot be prepared ends the process.
fn prepare(
    config: Config,
    database: Database,
    services: Services,
    readiness: Readiness,
    lifecycle: &Lifecycle,
    failure: Failed,
) -> impl Future<Output = ()> + use<> {
    let (broken, stop) = (lifecycle.broken.clone(), lifecycle.stop_tasks.clone());
    async move {
        let prepared = stop
            .run_until_cancelled_owned(Box::pin(prepare::prepare(config, database, services, readiness)))
            .await;
        if let Some(Err(error)) = prepared {
            tracing::error!(target: "mapleai::lifecycle", error = %error_chain(&error), "cannot start");
            failure.set(error);
            broken.cancel();
        }
    }
}
