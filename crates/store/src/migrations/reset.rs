//! Emptying a database of development's.

use configuration::Environment;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{
    MigrationError, Session,
    deployment::Owner,
    plan,
    record::{Command, Order, Outcome, Run},
};
use crate::StoreError;

impl Session {
    /// Drops all that the schema has, and migrates. Refuses whatever is not development's own, another name than the database's,
    /// and a database that somebody else is connected to; what it refuses it has not written to.
    pub async fn reset(&mut self, name: &str, order: Order) -> Result<Vec<i64>, MigrationError> {
        let standing = self.admit().await?;
        let is_developments = matches!(
            standing.owner(),
            Owner::Nobody | Owner::Environment(Environment::Development)
        );
        if !self.environment.is_development() || !is_developments {
            return Err(MigrationError::NotReset);
        }
        let actual = plan::identity(&mut self.connection)
            .await
            .map_err(StoreError::from)?
            .name;
        if actual != name {
            return Err(MigrationError::OtherName {
                given: name.to_owned(),
                actual,
            });
        }
        let others = others(&mut self.connection).await.map_err(StoreError::from)?;
        if let Some(others) = others {
            return Err(MigrationError::InUse(others));
        }
        let run = Run::new(Command::Reset, self.environment, order.clone(), Vec::new());
        empty(&mut self.connection).await.map_err(StoreError::from)?;
        let applied = self.apply(order).await?;
        run.note(&mut self.connection, Outcome::Done, None)
            .await
            .map_err(StoreError::from)?;
        Ok(applied)
    }
}

async fn others(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT string_agg(format('pid %s (%s)', pid, coalesce(nullif(application_name, ''), 'no name')), ', ' ORDER BY pid)
           FROM pg_stat_activity
           WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"#
    )
    .fetch_one(connection)
    .await
}

/// Tables, and the functions that no extension brought. In one transaction: all or nothing.
async fn empty(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query!("SELECT set_config('lock_timeout', '200ms', true)")
        .fetch_one(&mut *transaction)
        .await?;
    let statements = sqlx::query_scalar!(
        r#"SELECT 'DROP TABLE IF EXISTS ' || oid::regclass || ' CASCADE' AS "statement!"
           FROM pg_class
           WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace(current_schema()) AND NOT relispartition
             AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
           UNION ALL
           SELECT 'DROP FUNCTION IF EXISTS ' || oid::regprocedure || ' CASCADE'
           FROM pg_proc
           WHERE pronamespace = to_regnamespace(current_schema()) AND prokind = 'f'
             AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')"#
    )
    .fetch_all(&mut *transaction)
    .await?;
    for statement in statements {
        // Names quoted by the server.
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}
