//! `mapleai migrate`: what each environment asks for before a schema changes, and then changing it.
//!
//! Everything is asked under the lock that keeps others from migrating, and before anything is written.

mod backup;
mod ceremony;

use std::future::Future;

use super::AppError;
use configuration::Config;
use domain::clock::Clock;
use store::{
    Database, Replicas, Store,
    migrations::{
        self, MigrationError, Session,
        look::{self, Status},
        plan::Plan,
        record::Order,
    },
};

pub use backup::BackupError;
pub use ceremony::Refused;

/// What an operator says with a run.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// The digest of the plan that was reviewed.
    pub reviewed: Option<String>,
    pub by: Option<String>,
    pub outside_window: Option<String>,
    /// What the program that makes backups said last.
    pub backup: Option<String>,
}

impl Said {
    fn order(&self, backup: Option<String>) -> Order {
        Order {
            by: self.by.clone(),
            digest: self.reviewed.clone(),
            reason: self.outside_window.clone(),
            backup,
        }
    }
}

/// Applies what the database lacks, once everything is shown that the environment asks for. Where it lacks nothing, nothing is.
pub async fn apply(config: Config, said: Said) -> Result<(), AppError> {
    within_limit(&config, async {
        let database = Database::new(&config.database)?;
        let mut session = session(&config, &database).await?;
        let standing = session.admit().await?;
        let plan = session.plan().await?;
        let mut backup = None;
        // An empty database has nothing to lose, and nobody who uses it.
        if !plan.pending.is_empty() && standing.has_tables {
            ceremony::reviewed(&config, &mut session, &plan, &said).await?;
            ceremony::in_window(&config, said.outside_window.as_deref())?;
            backup = ceremony::backed_up(&config, &said).await?;
        }
        let applied = session.apply(said.order(backup)).await?;
        session.close().await?;
        if !applied.is_empty() {
            tracing::info!(target: "mapleai::lifecycle", versions = ?applied, by = said.by.as_deref().unwrap_or_default(), outside_window = said.outside_window.as_deref().unwrap_or_default(), "migrations are applied");
        }
        refold(&database).await
    })
    .await
}

/// As development does when the service starts.
pub(super) async fn apply_at_start(config: Config, database: Database) -> Result<(), AppError> {
    migrations::apply(
        &database,
        config.environment,
        &config.migrations,
        config.database.statement_timeout,
    )
    .await?;
    refold(&database).await
}

/// What `apply` would do.
pub async fn plan(config: &Config) -> Result<Plan, AppError> {
    let database = Database::new(&config.database)?;
    Ok(look::plan(&database, config.environment).await?)
}

pub async fn status(config: &Config) -> Result<Status, AppError> {
    let database = Database::new(&config.database)?;
    Ok(look::status(&database).await?)
}

/// Takes back what stands above a version; gives what was taken back.
pub async fn roll_back(config: Config, to: i64, accepts_loss: bool, said: Said) -> Result<Vec<i64>, AppError> {
    within_limit(&config, async {
        let database = Database::new(&config.database)?;
        let mut session = session(&config, &database).await?;
        session.admit().await?;
        let versions = session.way_back(to, accepts_loss).await?;
        if !versions.is_empty() {
            ceremony::in_window(&config, said.outside_window.as_deref())?;
        }
        session.roll_back(&versions, said.order(None)).await?;
        session.close().await?;
        Ok(versions)
    })
    .await
}

/// Empties a database of development's and migrates it.
pub async fn reset(config: Config, name: &str, said: Said) -> Result<(), AppError> {
    within_limit(&config, async {
        if !config.environment.is_development() {
            return Err(MigrationError::NotReset.into());
        }
        let database = Database::new(&config.database)?;
        let mut session = session(&config, &database).await?;
        session.reset(name, said.order(None)).await?;
        session.close().await?;
        Ok(())
    })
    .await
}

/// Writes the configuration's environment into a database that does not say of which it is.
pub async fn mark(config: Config, said: Said) -> Result<(), AppError> {
    within_limit(&config, async {
        let database = Database::new(&config.database)?;
        let mut session = session(&config, &database).await?;
        session.mark(said.order(None)).await?;
        session.close().await?;
        Ok(())
    })
    .await
}

async fn session(config: &Config, database: &Database) -> Result<Session, AppError> {
    let statement_timeout = config.database.statement_timeout;
    Ok(Session::open(database, config.environment, &config.migrations, statement_timeout).await?)
}

async fn within_limit<T>(config: &Config, work: impl Future<Output = Result<T, AppError>>) -> Result<T, AppError> {
    let limit = config.database.migrate_timeout;
    tokio::time::timeout(limit, Box::pin(work))
        .await
        .unwrap_or(Err(AppError::MigrationLimit(limit)))
}

/// Addresses that an older release stored are brought into the form in which they are compared.
async fn refold(database: &Database) -> Result<(), AppError> {
    let accounts = Store::new(database, &Replicas::default()).accounts;
    let refolded = accounts
        .refold_emails(Clock::system().now())
        .await
        .map_err(MigrationError::Store)?;
    for user in &refolded.collisions {
        tracing::warn!(target: "mapleai::lifecycle", user_id = %user, "the e-mail address of this account is another account's in another spelling; neither is changed, and one of them should be removed");
    }
    tracing::info!(target: "mapleai::lifecycle", addresses = refolded.changed, "database is migrated");
    Ok(())
}
