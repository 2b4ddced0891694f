//! A connection that holds the migrations' lock, and what is done over it.

use std::{collections::BTreeMap, time::Duration};

use configuration::{Environment, MigrationsConfig};
use sqlx::{Connection as _, PgConnection, migrate::Migrate as _};

use super::{
    MigrationError, Pending, TABLE, deployment,
    deployment::{Owner, Standing},
    lock,
};
use crate::{Database, StoreError, error::Unavailable};
use telemetry::error_chain;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Nobody else migrates this database while it is open.
pub struct Session {
    pub(super) connection: PgConnection,
    pub(super) environment: Environment,
    pub(super) config: MigrationsConfig,
    /// Of statements that touch the catalogue alone.
    pub(super) statement_timeout: Duration,
    pub(super) address: String,
}

impl Session {
    /// Connects and waits for the lock. Writes nothing.
    pub async fn open(
        database: &Database,
        environment: Environment,
        config: &MigrationsConfig,
        statement_timeout: Duration,
    ) -> Result<Self, MigrationError> {
        let connecting = tokio::time::timeout(CONNECT_LIMIT, database.connect());
        let connected = connecting
            .await
            .map_err(|_| StoreError::Unavailable(Unavailable::NoAnswer(CONNECT_LIMIT)))?;
        let mut connection = connected?;
        end_with_its_client(&mut connection).await;
        lock::take(&mut connection).await?;
        // For what is not tried again: an index that is made anew keeps nobody out while it waits.
        let limit = config.lock_limit.as_millis().to_string();
        sqlx::query!("SELECT set_config('lock_timeout', $1, false)", limit)
            .fetch_one(&mut connection)
            .await
            .map_err(StoreError::from)?;
        Ok(Self {
            connection,
            environment,
            config: config.clone(),
            statement_timeout,
            address: database.address(),
        })
    }

    /// What the database says of itself, unless that is another environment's. Writes nothing.
    pub async fn admit(&mut self) -> Result<Standing, MigrationError> {
        let standing = deployment::standing(&mut self.connection)
            .await
            .map_err(StoreError::from)?;
        standing.admit(self.environment, &self.address)?;
        Ok(standing)
    }

    /// As [`Self::admit`], and writes the environment down where nothing stands.
    pub async fn claim(&mut self) -> Result<(), MigrationError> {
        let standing = self.admit().await?;
        if standing.owner() == Owner::Unknown {
            tracing::warn!(target: "mapleai::lifecycle", environment = self.environment.as_str(), "the database did not say of which environment it is; from now on it says this one");
        }
        deployment::claim(&mut self.connection, self.environment).await
    }

    /// What the database lacks; an error where sqlx would not go on either.
    pub(super) async fn missing(&mut self) -> Result<Vec<i64>, MigrationError> {
        self.connection.ensure_migrations_table(TABLE).await?;
        self.missing_now().await
    }

    /// As [`Self::missing`], reading only.
    pub(super) async fn missing_now(&mut self) -> Result<Vec<i64>, MigrationError> {
        let exists = sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "exists!""#)
            .fetch_one(&mut self.connection)
            .await
            .map_err(StoreError::from)?;
        let mut applied = BTreeMap::new();
        if exists {
            if let Some(version) = self.connection.dirty_version(TABLE).await? {
                return Err(MigrationError::Dirty(version));
            }
            let listed = self.connection.list_applied_migrations(TABLE).await?;
            applied.extend(listed.into_iter().map(|one| (one.version, one.checksum.into_owned())));
        }
        let pending = Pending::compare(&applied);
        if !pending.changed.is_empty() {
            return Err(MigrationError::Changed(pending.changed));
        }
        Ok(pending.missing)
    }

    /// Releases the lock; the session's end does even if this does not arrive.
    pub async fn close(self) -> Result<(), MigrationError> {
        Ok(self.connection.close().await.map_err(StoreError::from)?)
    }
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
