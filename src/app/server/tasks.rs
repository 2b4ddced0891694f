//! What runs in the background of a service.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::service::{Services, health::Watchdog, readiness::Readiness};
use crate::{
    app::gauges::{self, Observed},
    lifecycle::Lifecycle,
    task,
};
use cache::{Tiers, channel, redis::Redis};
use store::{Database, replica::Watch};

/// What the tasks work on.
pub(super) struct Parts<'a> {
    pub(super) lifecycle: &'a Lifecycle,
    pub(super) services: &'a Services,
    pub(super) tiers: &'a Tiers,
    pub(super) readiness: &'a Readiness,
    pub(super) watchdog: Watchdog,
    pub(super) observed: Observed,
    pub(super) copies: Watch,
    pub(super) flush_interval: Duration,
}

pub(super) fn start(parts: Parts<'_>) {
    let Parts {
        lifecycle,
        services,
        tiers,
        readiness,
        watchdog,
        observed,
        copies,
        flush_interval,
    } = parts;
    let stop = || lifecycle.stop_tasks.clone();
    let usage = || services.usage.clone();
    lifecycle.run("usage flush", task::usage_flush::run(usage(), flush_interval, stop()));
    lifecycle.run("usage journal watch", task::usage_journal::watch(usage(), stop()));
    lifecycle.run("usage replay", task::usage_journal::replay(usage(), stop()));
    let (sessions, keys) = (services.sessions.clone(), services.api_keys.clone());
    lifecycle.run("key use", task::usage_flush::note_key_use(keys.clone(), stop()));
    lifecycle.run(
        "sweep",
        task::sweep::run(
            services.answers.clone(),
            sessions.clone(),
            services.caches.clone(),
            readiness.clone(),
            stop(),
        ),
    );
    lifecycle.run("answer spool", task::sweep::spooled(services.answers.clone(), stop()));
    lifecycle.run("revocations", task::revocations::run(sessions, keys, stop()));
    lifecycle.run("marker", task::marker::run(copies, stop()));
    lifecycle.run("audit", task::audit::run(services.audit.clone(), stop()));
    lifecycle.run("retention", task::retention::run(services.retention.clone(), stop()));
    lifecycle.run("discovery", task::discovery::run(services.models.clone(), stop()));
    lifecycle.run("local models", task::local_models::run(services.models.clone(), stop()));
    if let Some(redis) = tiers.redis().cloned() {
        lifecycle.run("Redis watch", watch_redis(redis, stop()));
        lifecycle.run("cache channel", channel::listen(tiers.clone(), stop()));
        lifecycle.run(
            "cache heartbeat",
            channel::heartbeat(tiers.clone(), rand::random, stop()),
        );
    }
    for (_, database) in &observed.databases {
        lifecycle.run("database watch", watch_database(database.clone(), stop()));
    }
    lifecycle.run("observer", gauges::run(observed, stop()));
    lifecycle.run("watchdog", watch(watchdog, stop()));
}

async fn watch_redis(redis: Redis, stop: CancellationToken) {
    redis.watch(stop).await;
}

async fn watch_database(database: Database, stop: CancellationToken) {
    database.watch(stop).await;
}

async fn watch(watchdog: Watchdog, stop: CancellationToken) {
    let _ = stop.run_until_cancelled_owned(watchdog.run()).await;
}
