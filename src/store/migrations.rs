//! Applying migrations, and asking whether they have been.

use std::{borrow::Cow, time::Duration};

use sqlx::{Connection, PgConnection, migrate::Migrator};

use super::{Database, StoreError};

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Held while migrating. Any fixed number does, as long as every release uses the same.
const LOCK: i64 = 0x6d61_706c_6561_6901;
/// How long to wait for another process that is migrating.
const LOCK_LIMIT: Duration = Duration::from_mins(2);

#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another process (pid {holder} on the database server) has been migrating for {waited:?}")]
    Locked { holder: i32, waited: Duration },
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

/// Applies what is missing. Newer migrations in the database are fine: an old pod may restart during a roll-out.
pub async fn apply(database: &Database) -> Result<(), MigrationError> {
    let mut connection = database.connect().await?;
    lock(&mut connection).await?;
    let migrator = Migrator {
        ignore_missing: true,
        // sqlx would wait for its own lock without a limit, and deadlock with CREATE INDEX CONCURRENTLY.
        locking: false,
        migrations: Cow::Borrowed(&MIGRATOR.migrations),
        ..Migrator::DEFAULT
    };
    migrator.run(&mut connection).await?;
    // Closing the session releases the lock even if this does not arrive.
    connection.close().await.map_err(StoreError::from)?;
    Ok(())
}

async fn lock(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let started = std::time::Instant::now();
    loop {
        let got = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "got!""#, LOCK)
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::from)?;
        if got {
            return Ok(());
        }
        if started.elapsed() > LOCK_LIMIT {
            let holder = sqlx::query_scalar!(
                r#"SELECT pid AS "pid!" FROM pg_locks WHERE locktype = 'advisory' AND granted
                   AND ((classid::bigint << 32) | objid::bigint) = $1"#,
                LOCK
            )
            .fetch_optional(&mut *connection)
            .await
            .map_err(StoreError::from)?;
            return Err(MigrationError::Locked {
                holder: holder.unwrap_or_default(),
                waited: started.elapsed(),
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Compares the database with this binary.
pub async fn pending(database: &Database) -> Result<Pending, StoreError> {
    let mut lease = database.lease().await?;
    let outcome = database
        .limit(async {
            let exists = sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "exists!""#)
                .fetch_one(lease.connection())
                .await?;
            if !exists {
                return Ok(Vec::new());
            }
            // sqlx's own table, which exists only once something was applied: no compile-time check.
            sqlx::query_as::<_, (i64, Vec<u8>)>(
                "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
            )
            .fetch_all(lease.connection())
            .await
        })
        .await;
    let applied = lease.settle(outcome)?;
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
