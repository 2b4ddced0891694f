//! A connection that only reads: for `mapleai migrate plan` and `status`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use configuration::Environment;
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::{
    MigrationError, Pending,
    deployment::{self, Owner},
    indexes,
    plan::{self, Plan, file_name},
    record::{self, Recorded},
    up, ups,
};
use crate::{Database, StoreError};

/// What stands in a database, against what this binary has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Without user or password.
    pub address: String,
    /// Nothing where the database does not say: an empty one, or one from before databases said it.
    pub environment: Option<Environment>,
    pub since: Option<DateTime<Utc>>,
    pub is_empty: bool,
    pub applied: Vec<Applied>,
    /// By file name.
    pub pending: Vec<String>,
    /// Applied with other contents than this binary has.
    pub changed: Vec<String>,
    /// Of a newer release.
    pub newer: Vec<i64>,
    pub invalid_indexes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    pub version: i64,
    pub name: String,
    pub at: DateTime<Utc>,
    pub by: Option<String>,
    pub digest: Option<String>,
    pub reason: Option<String>,
    pub backup: Option<String>,
}

impl Status {
    pub fn is_up_to_date(&self) -> bool {
        self.pending.is_empty() && self.changed.is_empty()
    }
}

/// sqlx's table, read. No compile-time check: it exists only once something was applied.
async fn applied(connection: &mut PgConnection) -> Result<Vec<(i64, String, DateTime<Utc>, Vec<u8>)>, sqlx::Error> {
    let exists = sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "exists!""#)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "SELECT version, description, installed_on, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
    )
    .fetch_all(connection)
    .await
}

async fn open(database: &Database) -> Result<PgConnection, StoreError> {
    let mut connection = database.connect().await?;
    for setting in [
        "SET default_transaction_read_only = on",
        "SET lock_timeout = '200ms'",
        "SET statement_timeout = '30s'",
        "SET application_name = 'mapleai migrate'",
    ] {
        sqlx::query(setting).execute(&mut connection).await?;
    }
    Ok(connection)
}

/// What `apply` would do. Refuses another environment's database.
pub async fn plan(database: &Database, environment: Environment) -> Result<Plan, MigrationError> {
    let mut connection = open(database).await?;
    let standing = deployment::standing(&mut connection).await.map_err(StoreError::from)?;
    standing.admit(environment, &database.address())?;
    let applied = applied(&mut connection).await.map_err(StoreError::from)?;
    let sums: BTreeMap<i64, Vec<u8>> = applied.into_iter().map(|(version, _, _, sum)| (version, sum)).collect();
    let pending = Pending::compare(&sums);
    if !pending.changed.is_empty() {
        return Err(MigrationError::Changed(pending.changed));
    }
    let plan = plan::plan(&mut connection, environment, &pending.missing).await;
    let _ = connection.close().await;
    Ok(plan.map_err(StoreError::from)?)
}

/// How the database stands, whosever it is.
pub async fn status(database: &Database) -> Result<Status, StoreError> {
    let mut connection = open(database).await?;
    let standing = deployment::standing(&mut connection).await?;
    let found = applied(&mut connection).await?;
    let sums = found
        .iter()
        .map(|(version, _, _, sum)| (*version, sum.clone()))
        .collect();
    let pending = Pending::compare(&sums);
    let mut recorded: BTreeMap<i64, Recorded> = record::last(&mut connection)
        .await?
        .into_iter()
        .filter(|one| one.command == "apply")
        .map(|one| (one.version, one))
        .collect();
    let invalid = indexes::broken(&mut connection).await?;
    let _ = connection.close().await;
    let names = |versions: &[i64]| -> Vec<String> {
        versions
            .iter()
            .filter_map(|version| up(*version))
            .map(file_name)
            .collect()
    };
    Ok(Status {
        address: database.address(),
        environment: match standing.owner() {
            Owner::Environment(environment) => Some(environment),
            Owner::Nobody | Owner::Unknown => None,
        },
        since: standing.since,
        is_empty: standing.owner() == Owner::Nobody,
        pending: names(&pending.missing),
        changed: names(&pending.changed),
        newer: found
            .iter()
            .map(|(version, ..)| *version)
            .filter(|version| !ups().any(|migration| migration.version == *version))
            .collect(),
        invalid_indexes: invalid
            .into_iter()
            .filter(|one| !one.may_be_in_work)
            .map(|one| one.name)
            .collect(),
        applied: found
            .into_iter()
            .map(|(version, description, at, _)| {
                let recorded = recorded.remove(&version);
                Applied {
                    version,
                    name: format!("{version:04}_{}", description.replace(' ', "_")),
                    at,
                    by: recorded.as_ref().and_then(|one| one.by.clone()),
                    digest: recorded.as_ref().and_then(|one| one.digest.clone()),
                    reason: recorded.as_ref().and_then(|one| one.reason.clone()),
                    backup: recorded.and_then(|one| one.backup),
                }
            })
            .collect(),
    })
}
