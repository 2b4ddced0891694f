//! Applying what a database lacks.

use configuration::{Environment, MigrationsConfig};
use sqlx::PgConnection;
use std::time::Duration;

use super::{
    MigrationError, Session, indexes, lag,
    record::{Command, Order, Outcome, Run},
    steps::Direction,
    up,
};
use crate::{Database, StoreError};

/// Applies what is missing, where nobody has to review it first.
pub async fn apply(
    database: &Database,
    environment: Environment,
    config: &MigrationsConfig,
    statement_timeout: Duration,
) -> Result<Vec<i64>, MigrationError> {
    let mut session = Session::open(database, environment, config, statement_timeout).await?;
    session.admit().await?;
    let applied = session.apply(Order::default()).await?;
    session.close().await?;
    Ok(applied)
}

impl Session {
    /// Applies what is missing, and mends what an interrupted try has left; gives the versions. Newer migrations in the database
    /// are fine: an old pod may restart during a roll-out.
    pub async fn apply(&mut self, order: Order) -> Result<Vec<i64>, MigrationError> {
        self.claim().await?;
        indexes::mend(&mut self.connection).await?;
        let missing = self.missing().await?;
        if !missing.is_empty() {
            let run = Run::new(Command::Apply, self.environment, order, missing.clone());
            self.recorded(run, Direction::Up, &missing).await?;
        }
        let broken = indexes::broken(&mut self.connection).await.map_err(StoreError::from)?;
        if !broken.is_empty() {
            return Err(MigrationError::Broken(broken.into_iter().map(|one| one.name).collect()));
        }
        Ok(missing)
    }

    /// Goes through the versions, with a row when that begins and one when it ends.
    pub(super) async fn recorded(
        &mut self,
        run: Run,
        direction: Direction,
        versions: &[i64],
    ) -> Result<(), MigrationError> {
        note(&mut self.connection, &run, Outcome::Began, None).await?;
        let outcome = self.each(&run, direction, versions).await;
        let why = outcome.as_ref().err().map(|error| telemetry::error_chain(error));
        let ending = if outcome.is_ok() {
            Outcome::Done
        } else {
            Outcome::Failed
        };
        let noted = note(&mut self.connection, &run, ending, why.as_deref()).await;
        // The first error is the one that counts.
        outcome.and(noted)
    }

    async fn each(&mut self, run: &Run, direction: Direction, versions: &[i64]) -> Result<(), MigrationError> {
        for (done, version) in versions.iter().enumerate() {
            lag::check(&mut self.connection, self.config.max_lag, self.config.max_lag_bytes).await?;
            let migration = match direction {
                Direction::Up => up(*version),
                Direction::Down => super::down(*version),
            };
            let Some(migration) = migration else {
                return Err(MigrationError::NoWayBack(vec![*version]));
            };
            self.step(migration, direction, run).await?;
            tracing::info!(target: "mapleai::lifecycle", version, done = done + 1, of = versions.len(), ?direction, "a migration is done");
        }
        Ok(())
    }
}

async fn note(
    connection: &mut PgConnection,
    run: &Run,
    outcome: Outcome,
    why: Option<&str>,
) -> Result<(), MigrationError> {
    Ok(run.note(connection, outcome, why).await.map_err(StoreError::from)?)
}
