//! Applying migrations, and asking whether they have been.

use std::{borrow::Cow, time::Duration};

use sqlx::{Connection, PgConnection, migrate::Migrator};

use super::{Database, StoreError, error::Unavailable};
use telemetry::error_chain;

pub mod indexes;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Held while migrating. Any fixed number does, as long as every release uses the same.
const LOCK: i64 = 0x6d61_706c_6561_6901;
/// How long to wait for another process that is migrating.
const LOCK_LIMIT: Duration = Duration::from_mins(2);
/// Between two lines about it.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "another process ({holder}) has been migrating for {waited:?}; end its session on the database server if it is dead"
    )]
    Locked { holder: String, waited: Duration },
    #[error("these indexes are not valid: {}", .0.join(", "))]
    Broken(Vec<String>),
    #[error("a migration failed")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// Which of this binary's migrations the database lacks, or has with other contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    pub missing: Vec<i64>,
    pub changed: Vec<i64>,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.changed.is_empty()
    }
}

/// Applies what is missing, and mends what an interrupted try has left. Newer migrations in the database are fine: an old pod
/// may restart during a roll-out.
pub async fn apply(database: &Database) -> Result<(), MigrationError> {
    let connecting = tokio::time::timeout(CONNECT_LIMIT, database.connect());
    let connected = connecting
        .await
        .map_err(|_| StoreError::Unavailable(Unavailable::NoAnswer(CONNECT_LIMIT)))?;
    let mut connection = connected?;
    end_with_its_client(&mut connection).await;
    lock(&mut connection).await?;
    indexes::mend(&mut connection).await?;
    let migrator = Migrator {
        ignore_missing: true,
        // sqlx would wait for its own lock without a limit, and deadlock with CREATE INDEX CONCURRENTLY.
        locking: false,
        migrations: Cow::Borrowed(&MIGRATOR.migrations),
        ..Migrator::DEFAULT
    };
    migrator.run(&mut connection).await?;
    let broken = indexes::broken(&mut connection).await.map_err(StoreError::from)?;
    if !broken.is_empty() {
        return Err(MigrationError::Broken(broken.into_iter().map(|one| one.name).collect()));
    }
    // Closing the session releases the lock even if this does not arrive.
    connection.close().await.map_err(StoreError::from)?;
    Ok(())
}

/// A statement of a process that was killed is not to go on, nor to hold the lock against the next try: the server looks whether
/// its client is there. Not every platform can, and none needs to.
async fn end_with_its_client(connection: &mut PgConnection) {
    for statement in [
        "SET client_connection_check_interval = '2s'",
        "SET application_name = 'mapleai migrate'",
        "SET tcp_user_timeout = '30s'",
    ] {
        if let Err(error) = sqlx::query(statement).execute(&mut *connection).await {
            tracing::debug!(target: "mapleai::lifecycle", error = %error_chain(&error), statement, "not set");
        }
    }
}

async fn lock(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let started = std::time::Instant::now();
    let mut logged_at: Option<std::time::Instant> = None;
    loop {
        let got = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "got!""#, LOCK)
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::from)?;
        if got {
            return Ok(());
        }
        let waited = started.elapsed();
        let is_over = waited > LOCK_LIMIT;
        if is_over || logged_at.is_none_or(|at| at.elapsed() > LOG_INTERVAL) {
            logged_at = Some(std::time::Instant::now());
            let holder = holder(connection).await?;
            if is_over {
                return Err(MigrationError::Locked { holder, waited });
            }
            tracing::warn!(target: "mapleai::lifecycle", holder, waited_seconds = waited.as_secs(), "waiting for another process that is migrating");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Who holds the lock, as far as this role may know.
async fn holder(connection: &mut PgConnection) -> Result<String, StoreError> {
    let found = sqlx::query!(
        r#"SELECT l.pid AS "pid!", a.application_name, a.client_addr::text AS address, a.backend_start::text AS since
           FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
           WHERE l.locktype = 'advisory' AND l.granted
             AND ((l.classid::bigint << 32) | l.objid::bigint) = $1"#,
        LOCK
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map_or_else(
        || "gone by now".to_owned(),
        |found| {
            format!(
                "pid {}, {:?} at {}, since {}",
                found.pid,
                found.application_name.unwrap_or_default(),
                found.address.as_deref().unwrap_or("the server itself"),
                found.since.as_deref().unwrap_or("an unknown time")
            )
        },
    ))
}

/// Compares the database with this binary.
pub async fn pending(database: &Database) -> Result<Pending, StoreError> {
    let mut connection = database.checkout().await?;
    let outcome = database
        .limit(async {
            let exists = sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "exists!""#)
                .fetch_one(connection.get())
                .await?;
            if !exists {
                return Ok(Vec::new());
            }
            // sqlx's own table, which exists only once something was applied: no compile-time check.
            sqlx::query_as::<_, (i64, Vec<u8>)>(
                "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
            )
            .fetch_all(connection.get())
            .await
        })
        .await;
    let applied = connection.settle(outcome)?;
    let mut pending = Pending::default();
    for migration in MIGRATOR
        .iter()
        .filter(|migration| migration.migration_type.is_up_migration())
    {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            None => pending.missing.push(migration.version),
            Some((_, checksum)) if checksum.as_slice() != migration.checksum.as_ref() => {
                pending.changed.push(migration.version);
            }
            Some(_) => {}
        }
    }
    Ok(pending)
}
