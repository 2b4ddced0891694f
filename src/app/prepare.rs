//! What a started process does before it is ready: wait for its database, bring it up to date where that is its job, and
//! warm up. Probes are answered all the while.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

use super::{AppError, migrate::apply_at_start, seed};
use crate::service::{Services, readiness::Readiness};
use configuration::Config;
use store::{Database, StoreError, error::Unavailable, migrations::MigrationError};
use telemetry::error_chain;

/// Between two looks for the database, and between two lines about it.
const PAUSE: Duration = Duration::from_millis(500);
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Ends when the service is prepared, or with the reason why it never will be.
pub(super) async fn prepare(
    config: Config,
    database: Database,
    services: Services,
    readiness: Readiness,
) -> Result<(), AppError> {
    let started = Instant::now();
    wait_for_database(&database, config.database.start_timeout).await?;
    if config.database.migrate_on_start {
        // Development alone has this, and may have been given another environment's URL, which this refuses.
        migrate(&config, &database).await?;
        if config.environment.has_demo_account() {
            seed_when_possible(&config).await?;
        }
    }
    warn_of_pooler(&database).await;
    readiness.note_started();
    tracing::info!(target: "mapleai::lifecycle", phase = 3, seconds = started.elapsed().as_secs_f32(), "the database is there");
    let warming = async {
        database.warm_up().await?;
        // A failure to compress beforehand is made up for by the first request.
        let _ = tokio::task::spawn_blocking(crate::web::assets::prepare).await;
        services.caches.warm_up().await;
        services.api_keys.warm_up().await.map_err(AppError::from)
    };
    match tokio::time::timeout(config.server.warmup_timeout, Box::pin(warming)).await {
        Ok(Ok(keys)) => {
            tracing::debug!(target: "mapleai::lifecycle", keys, "caches are warm");
        }
        Ok(Err(error)) => {
            tracing::warn!(target: "mapleai::lifecycle", error = %error_chain(&error), "warm-up failed; going on without");
        }
        Err(_) => {
            let limit = config.server.warmup_timeout;
            tracing::warn!(target: "mapleai::lifecycle", ?limit, "warm-up took too long; going on without");
        }
    }
    readiness.note_warm();
    tracing::info!(target: "mapleai::lifecycle", phase = 4, seconds = started.elapsed().as_secs_f32(), "warm");
    Ok(())
}

async fn wait_for_database(database: &Database, limit: Duration) -> Result<(), AppError> {
    let mut waiting = Waiting::new("waiting for the database", limit);
    loop {
        let Err(source) = database.probe().await else {
            return Ok(());
        };
        if waiting.is_over() {
            return Err(AppError::NoDatabase { waited: limit, source });
        }
        waiting.pause(&source).await;
    }
}

/// Waiting for something at the start, with a line each time that the reason changes, and now and then.
struct Waiting {
    what: &'static str,
    started: Instant,
    limit: Duration,
    last_report: Option<(Instant, String)>,
}

impl Waiting {
    fn new(what: &'static str, limit: Duration) -> Self {
        Self {
            what,
            started: Instant::now(),
            limit,
            last_report: None,
        }
    }

    fn is_over(&self) -> bool {
        self.started.elapsed() > self.limit
    }

    /// To be awaited: gives nothing of the error into the future.
    fn pause(&mut self, error: &dyn Error) -> Sleep {
        let reason = error_chain(error);
        let is_news = |(at, last_report): &(Instant, String)| *last_report != reason || at.elapsed() > REPORT_INTERVAL;
        if self.last_report.as_ref().is_none_or(is_news) {
            tracing::warn!(target: "mapleai::lifecycle", error = reason, waited_seconds = self.started.elapsed().as_secs(), limit_seconds = self.limit.as_secs(), "{}", self.what);
            self.last_report = Some((Instant::now(), reason));
        }
        sleep(PAUSE)
    }
}

/// What the server lets run for ever behind a pooler, where nothing that a connection sets would last.
async fn warn_of_pooler(database: &Database) {
    if let Ok(sessions) = database.sessions().await
        && sessions.shared
        && sessions.statement_timeout.is_none()
    {
        tracing::warn!(target: "mapleai::database", "a pooler in transaction mode stands before the database, and its role has no statement_timeout: the server does not end long statements (docs/DEPLOYMENT.md)");
    }
}

/// A database that goes away again meanwhile is waited for as well.
async fn migrate(config: &Config, database: &Database) -> Result<(), AppError> {
    let mut waiting = Waiting::new("migrating is tried again", config.database.start_timeout);
    loop {
        // On a thread of its own: sqlx's migrator is not one for tasks that move between threads.
        let (config, database, runtime) = (config.clone(), database.clone(), Handle::current());
        let applying = tokio::task::spawn_blocking(move || runtime.block_on(apply_at_start(config, database)));
        match applying.await.unwrap_or(Err(AppError::Preparation)) {
            Err(AppError::Migration(MigrationError::Store(error @ StoreError::Unavailable(_))))
                if !waiting.is_over() =>
            {
                waiting.pause(&error).await;
            }
            outcome => return outcome,
        }
    }
}

/// A machine that is busy at the start may have no connection in time; that is waited for, as the database itself is.
async fn seed_when_possible(config: &Config) -> Result<(), AppError> {
    let mut waiting = Waiting::new(
        "seeding the development account is tried again",
        config.database.start_timeout,
    );
    loop {
        let seeding: BoxFuture<'static, _> = Box::pin(seed(config.clone()));
        match seeding.await {
            Err(error) if is_unavailable(&error) && !waiting.is_over() => waiting.pause(&error).await,
            outcome => return outcome.map(|_| ()),
        }
    }
}

fn is_unavailable(error: &AppError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Unavailable>() {
            return true;
        }
        cause = error.source();
    }
    false
}
