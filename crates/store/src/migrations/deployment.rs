//! Which environment a database is of. It stands in the database, so that a process with another environment's URL finds out.
//!
//! Databases from before migration 26 do not say it. Development's have a table that no migration makes
//! ([`crate::development`]); every other one that is not empty counts as production's.

use chrono::{DateTime, Utc};
use configuration::Environment;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{MigrationError, statements, up};
use crate::{Database, StoreError};

/// The migration that makes the tables.
const VERSION: i64 = 26;

/// What a database says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub environment: Option<Environment>,
    pub since: Option<DateTime<Utc>>,
    /// Development's own table is there.
    pub is_marked: bool,
    pub has_tables: bool,
}

/// Whose a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It is empty.
    Nobody,
    Environment(Environment),
    /// It has tables and does not say; counts as production's.
    Unknown,
}

/// Why a process does not touch a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    #[error(
        "the database at {address} is not {configured}'s own: {owner}'s name stands in it. Unset DATABASE_URL for a private one, or set \
         MAPLE_ENV to what this database is for; nothing was written"
    )]
    Other {
        address: String,
        configured: &'static str,
        owner: &'static str,
    },
    #[error(
        "the database at {address} is not development's own: it has tables and does not say of which environment it is, so it counts as \
         production's. Unset DATABASE_URL for a private one, set MAPLE_ENV to what this database is for, or hand it over to development: \
         mapleai migrate mark --environment development --by NAME; nothing was written"
    )]
    Unknown { address: String },
    #[error("the database at {address} is empty; run `mapleai migrate` first")]
    Empty { address: String },
}

impl Standing {
    pub fn owner(&self) -> Owner {
        match self.environment {
            Some(environment) => Owner::Environment(environment),
            None if self.is_marked => Owner::Environment(Environment::Development),
            None if self.has_tables => Owner::Unknown,
            None => Owner::Nobody,
        }
    }

    /// Whether a process of this environment may change the database.
    pub fn admit(&self, configured: Environment, address: &str) -> Result<(), Foreign> {
        let address = address.to_owned();
        match self.owner() {
            Owner::Environment(owner) if owner != configured => Err(Foreign::Other {
                address,
                configured: configured.as_str(),
                owner: owner.as_str(),
            }),
            Owner::Unknown if configured.is_development() => Err(Foreign::Unknown { address }),
            // One from before databases said it: the first run of a deployed environment writes it down.
            Owner::Nobody | Owner::Environment(_) | Owner::Unknown => Ok(()),
        }
    }
}

impl Database {
    /// What the database says of itself. Writes nothing.
    pub async fn standing(&self) -> Result<Standing, StoreError> {
        let mut connection = self.checkout().await?;
        let outcome = self.limit(standing(connection.get())).await;
        connection.settle(outcome)
    }

    /// Refuses a database that is empty or another environment's. Writes nothing.
    pub async fn admit(&self, environment: Environment) -> Result<(), MigrationError> {
        let standing = self.standing().await?;
        if standing.owner() == Owner::Nobody {
            return Err(Foreign::Empty {
                address: self.address(),
            }
            .into());
        }
        Ok(standing.admit(environment, &self.address())?)
    }
}

/// The tables may not be there: no compile-time check of what reads them.
pub(super) async fn standing(connection: &mut PgConnection) -> Result<Standing, sqlx::Error> {
    let found = sqlx::query!(
        r#"SELECT to_regclass('deployment') IS NOT NULL AS "says!", to_regclass('mapleai_development') IS NOT NULL AS "is_marked!",
                  EXISTS (SELECT FROM pg_class
                          WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace(current_schema())
                            AND relname NOT IN ('deployment', 'migration_runs', 'mapleai_development')) AS "has_tables!""#
    )
    .fetch_one(&mut *connection)
    .await?;
    let row: Option<(String, DateTime<Utc>)> = if found.says {
        sqlx::query_as("SELECT environment, since FROM deployment")
            .fetch_optional(connection)
            .await?
    } else {
        None
    };
    let (environment, since) = row.unzip();
    Ok(Standing {
        // One that this release does not have is nobody's whom it could take it for.
        environment: environment.map(|name| Environment::named(&name).unwrap_or(Environment::Production)),
        since,
        is_marked: found.is_marked,
        has_tables: found.has_tables,
    })
}

/// Makes the tables of migration 26 and writes the environment, unless they are there. Only for who holds the migrations' lock
/// and has asked [`Standing::admit`].
pub(super) async fn claim(connection: &mut PgConnection, environment: Environment) -> Result<(), MigrationError> {
    let system = system(connection).await.map_err(StoreError::from)?;
    let mut transaction = connection.begin().await.map_err(StoreError::from)?;
    if environment.is_development() {
        crate::development::mark(&mut transaction)
            .await
            .map_err(StoreError::from)?;
    }
    let lacks: bool = sqlx::query_scalar!(
        r#"SELECT to_regclass('deployment') IS NULL OR to_regclass('migration_runs') IS NULL AS "lacks!""#
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(StoreError::from)?;
    if lacks && let Some(migration) = up(VERSION) {
        for statement in statements::split(migration.sql.as_str()) {
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::from)?;
        }
    }
    sqlx::query("INSERT INTO deployment (environment, since, system) VALUES ($1, now(), $2) ON CONFLICT DO NOTHING")
        .bind(environment.as_str())
        .bind(system)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::from)?;
    Ok(transaction.commit().await.map_err(StoreError::from)?)
}

/// The server's own identifier, where the role may read it.
pub(super) async fn system(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let may_read =
        sqlx::query_scalar!(r#"SELECT has_function_privilege('pg_control_system()', 'EXECUTE') AS "may_read!""#)
            .fetch_one(&mut *connection)
            .await?;
    if !may_read {
        return Ok(None);
    }
    // Not checked at compile time: whether the role may ask it differs by server.
    sqlx::query_scalar("SELECT system_identifier::text FROM pg_control_system()")
        .fetch_one(connection)
        .await
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::{Foreign, Owner, Standing};
    use configuration::Environment::{Development, Production, Staging};

    #[test]
    fn a_database_belongs_to_whom_it_says_and_an_unknown_one_to_production() {
        let with = |environment, is_marked, has_tables| Standing {
            environment,
            is_marked,
            has_tables,
            since: None,
        };
        let empty = with(None, false, false);
        let old_development = with(None, true, true);
        let unknown = with(None, false, true);
        // What is written goes before the mark.
        let production = with(Some(Production), true, true);
        assert_eq!(empty.owner(), Owner::Nobody);
        assert_eq!(unknown.owner(), Owner::Unknown);
        for (standing, admitted) in [
            (&empty, vec![Development, Staging, Production]),
            (&old_development, vec![Development]),
            (&unknown, vec![Staging, Production]),
            (&production, vec![Production]),
            (&with(Some(Staging), false, true), vec![Staging]),
            (&with(Some(Development), false, false), vec![Development]),
        ] {
            for environment in [Development, Staging, Production] {
                let outcome = standing.admit(environment, "db");
                assert_eq!(
                    outcome.is_ok(),
                    admitted.contains(&environment),
                    "{standing:?} {environment:?}"
                );
            }
        }
        let Err(error @ Foreign::Unknown { .. }) = unknown.admit(Development, "db") else {
            panic!("admitted");
        };
        assert!(
            error
                .to_string()
                .contains("mapleai migrate mark --environment development")
        );
    }
}
