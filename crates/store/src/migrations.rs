//! Changing the schema, and asking whether it is as this binary needs it.
//!
//! A [`Session`] holds the lock that keeps others from migrating. What it refuses, it refuses before it writes.

mod apply;
pub mod deployment;
pub mod destructive;
mod holders;
pub mod indexes;
mod lag;
mod lock;
pub mod look;
mod mark;
pub mod plan;
pub mod record;
mod reset;
mod review;
mod rollback;
mod session;
pub mod statements;
mod steps;

use std::{collections::BTreeMap, time::Duration};

use sqlx::migrate::{Migration, Migrator};

use super::{Database, StoreError};
pub use apply::apply;
pub use session::Session;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");
/// sqlx's own, which older releases read and write as well.
const TABLE: &str = "_sqlx_migrations";

#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Foreign(#[from] deployment::Foreign),
    #[error(
        "another process ({holder}) has been migrating for {waited:?}; end its session on the database server if it is dead"
    )]
    Locked { holder: String, waited: Duration },
    #[error("these indexes are not valid: {}", .0.join(", "))]
    Broken(Vec<String>),
    #[error("cannot read which migrations were applied")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error(
        "migration {0} has begun and not ended, by a tool that says so; look at it before anything else is applied"
    )]
    Dirty(i64),
    #[error(
        "applied with other contents than this binary has: {0:?}; it and the one that migrated do not belong together"
    )]
    Changed(Vec<i64>),
    #[error("migration {version} failed; those before it stay")]
    Step {
        version: i64,
        #[source]
        source: sqlx::Error,
    },
    #[error(
        "migration {version} has waited {waited:?} for a lock, in tries that nobody waits long behind, and is not applied; held by {holders}"
    )]
    Busy {
        version: i64,
        waited: Duration,
        holders: String,
    },
    #[error(
        "a replica is {behind:?} and {bytes} bytes behind, and migrations.max_lag is {max:?}, max_lag_bytes {max_bytes}; what was applied \
         stays, and the next run goes on"
    )]
    Lag {
        behind: Duration,
        bytes: String,
        max: Duration,
        max_bytes: u64,
    },
    #[error("no .down.sql in this binary for: {0:?}; take them back with the release that applied them")]
    NoWayBack(Vec<i64>),
    #[error("taking these back loses data, which --accept-loss would accept: {}", .0.join(", "))]
    Loss(Vec<String>),
    #[error("only development's databases are reset")]
    NotReset,
    #[error("the database is named {actual:?}, not {given:?}; nothing was written")]
    OtherName { given: String, actual: String },
    #[error("others are connected: {0}; end them first; nothing was written")]
    InUse(String),
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

    /// `applied` are checksums by version.
    fn compare(applied: &BTreeMap<i64, Vec<u8>>) -> Self {
        let mut pending = Self::default();
        for migration in ups() {
            match applied.get(&migration.version) {
                None => pending.missing.push(migration.version),
                Some(checksum) if checksum.as_slice() != migration.checksum.as_ref() => {
                    pending.changed.push(migration.version);
                }
                Some(_) => {}
            }
        }
        pending
    }
}

/// This binary's, in their order.
fn ups() -> impl Iterator<Item = &'static Migration> {
    MIGRATOR
        .iter()
        .filter(|migration| migration.migration_type.is_up_migration())
}

fn up(version: i64) -> Option<&'static Migration> {
    ups().find(|migration| migration.version == version)
}

/// The way back from a version.
fn down(version: i64) -> Option<&'static Migration> {
    MIGRATOR
        .iter()
        .find(|migration| migration.version == version && migration.migration_type.is_down_migration())
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
    Ok(Pending::compare(&applied.into_iter().collect()))
}
