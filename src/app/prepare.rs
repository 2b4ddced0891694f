//! What a started process does before it is ready: wait for its database, bring it up to date where that is its job, and
//! warm up. Probes are answered all the while.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::{AppError, claim_for_development, migrations_apply, seed};
use crate::{
    config::Config,
    service::{Services, readiness::Readiness},
    store::{Database, StoreError, migrations::MigrationError},
};

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
        // Development alone has this, and may have been given another environment's URL.
        claim_for_development(&database).await?;
        migrate(&database, config.database.start_timeout).await?;
        if config.environment.has_demo_account() {
            let seeding: BoxFuture<'static, _> = Box::pin(seed(config.clone()));
            seeding.await?;
        }
    }
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
            tracing::warn!(target: "mapleai::lifecycle", error = %error, "warm-up failed; going on without");
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
    let started = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let Err(error) = database.probe().await else {
            return Ok(());
        };
        if started.elapsed() > limit {
            return Err(AppError::NoDatabase {
                waited: limit,
                source: error,
            });
        }
        if told.is_none_or(|at| at.elapsed() > REPORT_INTERVAL) {
            told = Some(Instant::now());
            let waited = started.elapsed().as_secs();
            tracing::warn!(target: "mapleai::lifecycle", error = %error, waited_seconds = waited, limit_seconds = limit.as_secs(), "waiting for the database");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A database that goes away again meanwhile is waited for as well.
async fn migrate(database: &Database, limit: Duration) -> Result<(), AppError> {
    let started = Instant::now();
    loop {
        // On a thread of its own: sqlx's migrator is not one for tasks that move between threads.
        let (database, runtime) = (database.clone(), Handle::current());
        let applying = tokio::task::spawn_blocking(move || runtime.block_on(migrations_apply(database)));
        match applying.await.unwrap_or(Err(AppError::Preparation)) {
            Err(AppError::Migration(MigrationError::Store(StoreError::Unavailable(cause))))
                if started.elapsed() < limit =>
            {
                tracing::warn!(target: "mapleai::lifecycle", error = %cause, "migrating is tried again");
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}
