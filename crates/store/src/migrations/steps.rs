//! One migration, up or down: each statement with a short try for its locks, all of them again when a try was too short.
//!
//! While a statement waits for a lock, everybody who comes after it waits behind it. So a try is short, whatever the file says, and
//! between two tries others get through. sqlx's own runner executes a file whole, with the limits that the file sets; what it
//! writes to its table is written here as it does, so that older releases read it.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::clock::Clock;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, Transaction, migrate::Migration};

use super::{
    MigrationError, Session, holders,
    record::{Outcome, Run},
    statements::{self, Statement, Work},
};
use crate::StoreError;

/// The longest that anybody waits behind a try.
const LOCK_TRY: Duration = Duration::from_millis(200);
/// The first pause between two tries; each is half as long again, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// Between two lines about waiting.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// A lock was not to be had in time, or a deadlock was ended.
const RETRIED: [&str; 2] = ["55P03", "40P01"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

impl Session {
    /// Applies a migration or takes it back, with the rows that say so in the same transaction where it has one.
    pub(super) async fn step(
        &mut self,
        migration: &Migration,
        direction: Direction,
        run: &Run,
    ) -> Result<(), MigrationError> {
        let statements = statements::read(migration.sql.as_str());
        let (began, started) = (Clock::system().now(), Instant::now());
        let mut logged_at: Option<Instant> = None;
        let mut pause = FIRST_PAUSE;
        let error = loop {
            let tried = if migration.no_tx {
                self.outside(migration, direction, &statements, run).await
            } else {
                self.within(migration, direction, &statements, run).await
            };
            let Err(error) = tried else {
                if direction == Direction::Up {
                    note_time(&mut self.connection, migration.version, started.elapsed()).await;
                }
                return Ok(());
            };
            if !is_about_locks(&error) {
                break MigrationError::Step {
                    version: migration.version,
                    source: error,
                };
            }
            let waited = started.elapsed();
            let is_over = waited + pause > self.config.lock_limit;
            if is_over || logged_at.is_none_or(|at| at.elapsed() > LOG_INTERVAL) {
                logged_at = Some(Instant::now());
                let holders = self.holders(&statements).await?;
                if is_over {
                    break MigrationError::Busy {
                        version: migration.version,
                        waited,
                        holders,
                    };
                }
                tracing::warn!(target: "mapleai::lifecycle", version = migration.version, holders, waited_seconds = waited.as_secs(), "a migration waits for a lock; it is tried again");
            }
            tokio::time::sleep(with_jitter(pause)).await;
            pause = (pause * 3 / 2).min(MAX_PAUSE);
        };
        let why = telemetry::error_chain(&error);
        if let Err(error) = run
            .note_version(
                &mut self.connection,
                migration.version,
                Outcome::Failed,
                began,
                Some(&why),
            )
            .await
        {
            tracing::warn!(target: "mapleai::lifecycle", error = %telemetry::error_chain(&error), "the failure could not be written down");
        }
        Err(error)
    }

    async fn within(
        &mut self,
        migration: &Migration,
        direction: Direction,
        statements: &[Statement],
        run: &Run,
    ) -> Result<(), sqlx::Error> {
        let began = Clock::system().now();
        let mut transaction = self.connection.begin().await?;
        for statement in statements.iter().filter(|statement| !statement.sets_limit) {
            // What takes its time by its nature may; what touches the catalogue alone is ended when it does not end.
            let limit = if statement.work == Work::Metadata {
                self.statement_timeout
            } else {
                Duration::ZERO
            };
            set_limits(&mut transaction, LOCK_TRY, limit, true).await?;
            sqlx::raw_sql(AssertSqlSafe(statement.text.clone()))
                .execute(&mut *transaction)
                .await?;
        }
        set_limits(&mut transaction, LOCK_TRY, self.statement_timeout, true).await?;
        note_done(transaction, migration, direction, run, began).await
    }

    /// One statement that keeps nobody out while it waits, so that it may wait as long as the whole step.
    async fn outside(
        &mut self,
        migration: &Migration,
        direction: Direction,
        statements: &[Statement],
        run: &Run,
    ) -> Result<(), sqlx::Error> {
        let began = Clock::system().now();
        let is_concurrent = statements.iter().all(|statement| statement.is_concurrent);
        let limit = if is_concurrent {
            self.config.lock_limit
        } else {
            LOCK_TRY
        };
        set_limits(&mut self.connection, limit, Duration::ZERO, false).await?;
        for statement in statements.iter().filter(|statement| !statement.sets_limit) {
            sqlx::raw_sql(AssertSqlSafe(statement.text.clone()))
                .execute(&mut self.connection)
                .await?;
        }
        let transaction = self.connection.begin().await?;
        note_done(transaction, migration, direction, run, began).await
    }

    async fn holders(&mut self, statements: &[Statement]) -> Result<String, MigrationError> {
        let tables: Vec<String> = statements
            .iter()
            .flat_map(|statement| statement.tables.iter().cloned())
            .collect();
        Ok(holders::named(&mut self.connection, &tables)
            .await
            .map_err(StoreError::from)?)
    }
}

/// Both rows that say so, with what the transaction holds already.
async fn note_done(
    mut transaction: Transaction<'_, Postgres>,
    migration: &Migration,
    direction: Direction,
    run: &Run,
    began: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    note_applied(&mut transaction, migration, direction).await?;
    run.note_version(&mut transaction, migration.version, Outcome::Done, began, None)
        .await?;
    transaction.commit().await
}

/// As sqlx writes it.
async fn note_applied(
    connection: &mut PgConnection,
    migration: &Migration,
    direction: Direction,
) -> Result<(), sqlx::Error> {
    match direction {
        // sqlx's own table: no compile-time check.
        Direction::Up => {
            sqlx::query(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES ($1, $2, TRUE, $3, -1)",
            )
            .bind(migration.version)
            .bind(migration.description.as_ref())
            .bind(migration.checksum.as_ref())
            .execute(connection)
            .await?;
        }
        Direction::Down => {
            sqlx::query("DELETE FROM _sqlx_migrations WHERE version = $1")
                .bind(migration.version)
                .execute(connection)
                .await?;
        }
    }
    Ok(())
}

/// For people who look; nothing depends on it.
async fn note_time(connection: &mut PgConnection, version: i64, took: Duration) {
    let nanoseconds = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
    let written = sqlx::query("UPDATE _sqlx_migrations SET execution_time = $1 WHERE version = $2")
        .bind(nanoseconds)
        .bind(version)
        .execute(connection)
        .await;
    if let Err(error) = written {
        tracing::debug!(target: "mapleai::lifecycle", error = %telemetry::error_chain(&error), version, "its time was not written");
    }
}

async fn set_limits(
    connection: &mut PgConnection,
    lock: Duration,
    statement: Duration,
    is_local: bool,
) -> Result<(), sqlx::Error> {
    let milliseconds = |limit: Duration| limit.as_millis().to_string();
    sqlx::query!(
        "SELECT set_config('lock_timeout', $1, $3) AS lock, set_config('statement_timeout', $2, $3) AS statement",
        milliseconds(lock),
        milliseconds(statement),
        is_local
    )
    .fetch_one(connection)
    .await
    .map(|_| ())
}

fn is_about_locks(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| RETRIED.contains(&&*code))
}

/// So that two who wait for each other's tries do not keep step.
fn with_jitter(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.5))
}
