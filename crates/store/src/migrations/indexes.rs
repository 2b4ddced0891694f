//! Indexes that an interrupted `CREATE INDEX CONCURRENTLY` has left behind: every write keeps them up, and no read may use them.
//! `IF NOT EXISTS` passes over them, so a migration that is tried again takes them for done (PostgreSQL's manual, "Building
//! Indexes Concurrently").

use sqlx::{AssertSqlSafe, PgConnection};

use super::MigrationError;
use crate::{Database, StoreError};

/// An index that is not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Quoted, with its schema.
    pub name: String,
    /// Somebody holds the lock that building takes: it may become valid yet.
    pub may_be_in_work: bool,
}

/// Those on the tables of this schema.
pub(super) async fn broken(connection: &mut PgConnection) -> Result<Vec<Broken>, sqlx::Error> {
    sqlx::query_as!(
        Broken,
        r#"SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS "name!",
                  EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                          WHERE d.datname = current_database() AND l.relation = i.indrelid AND l.granted
                          AND l.mode = 'ShareUpdateExclusiveLock') AS "may_be_in_work!"
           FROM pg_index i
           JOIN pg_class c ON c.oid = i.indexrelid
           JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE NOT i.indisvalid AND n.nspname = current_schema()
           ORDER BY 1"#
    )
    .fetch_all(connection)
    .await
}

/// Those that nobody is building.
pub async fn left_broken(database: &Database) -> Result<Vec<String>, StoreError> {
    let mut connection = database.checkout().await?;
    let outcome = database.limit(broken(connection.get())).await;
    let found = connection.settle(outcome)?;
    Ok(found
        .into_iter()
        .filter(|one| !one.may_be_in_work)
        .map(|one| one.name)
        .collect())
}

/// Makes them anew. Only for who holds the migrations' lock: nobody else is building one then.
pub(super) async fn mend(connection: &mut PgConnection) -> Result<(), MigrationError> {
    for Broken { name, .. } in broken(connection).await.map_err(StoreError::from)? {
        tracing::warn!(target: "mapleai::lifecycle", index = name, "an interrupted migration has left an invalid index; it is made anew");
        // What making one anew leaves behind where it is interrupted itself: the old one is there beside it.
        let bare = name
            .trim_end_matches('"')
            .trim_end_matches(|c: char| c.is_ascii_digit());
        let statement = if bare.ends_with("_ccnew") || bare.ends_with("_ccold") {
            format!("DROP INDEX CONCURRENTLY IF EXISTS {name}")
        } else {
            format!("REINDEX INDEX CONCURRENTLY {name}")
        };
        // The name is quoted by the server.
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut *connection)
            .await
            .map_err(StoreError::from)?;
    }
    Ok(())
}
