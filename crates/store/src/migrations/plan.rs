//! What `apply` would do to this database, for somebody to review, with a digest over all of it that matters.

use std::{collections::BTreeMap, fmt::Write as _};

use configuration::Environment;
use serde::Serialize;
use sqlx::{PgConnection, migrate::Migration};

use super::{
    deployment,
    destructive::{destructive, is_reviewed, loses_data},
    down,
    statements::{self, Lock, Statement, Work},
    up,
};
use crypto::secret::sha256;

const REVIEWS: &str = include_str!("../../../../migrations/reviewed.txt");
/// What the digest is over; another form gets another number.
const FORM: &str = "mapleai migration plan 1";

/// For an estimate: what a server of modest size does in a second. A better one is quicker, a busy one slower.
const SCAN_BYTES: f64 = 100.0 * 1024.0 * 1024.0;
const INDEX_BYTES: f64 = 25.0 * 1024.0 * 1024.0;
const REWRITE_BYTES: f64 = 25.0 * 1024.0 * 1024.0;
const ROWS: f64 = 20_000.0;

/// Which database of which server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    pub name: String,
    pub oid: i64,
    /// The server's own identifier, where the role may read it.
    pub system: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub digest: String,
    pub environment: Environment,
    pub database: Identity,
    pub pending: Vec<Planned>,
    /// Tables that are there and are touched.
    pub tables: Vec<Table>,
}

/// One migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    pub version: i64,
    pub name: String,
    /// SHA-384 of its text, as sqlx has it.
    pub checksum: String,
    pub in_transaction: bool,
    pub sql: String,
    pub statements: Vec<Step>,
    /// Words that take something away, by the list of `mapleai checklist`.
    pub destructive: Vec<&'static str>,
    /// Whether `reviewed.txt` names the file as it is.
    pub reviewed: bool,
    pub way_back: Option<WayBack>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    pub kind: String,
    pub lock: Lock,
    pub blocks: &'static str,
    pub work: Work,
    pub tables: Vec<String>,
    /// Seconds; nothing where it is a matter of milliseconds.
    pub estimated_seconds: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WayBack {
    pub checksum: String,
    pub sql: String,
    /// Words after which data is gone.
    pub loses: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    pub name: String,
    /// By the last ANALYZE; absent before the first.
    pub rows: Option<i64>,
    pub bytes: i64,
    pub bytes_with_indexes: i64,
}

impl Plan {
    pub fn versions(&self) -> Vec<i64> {
        self.pending.iter().map(|planned| planned.version).collect()
    }
}

/// Makes the plan of these versions. Reads only.
pub(super) async fn plan(
    connection: &mut PgConnection,
    environment: Environment,
    versions: &[i64],
) -> Result<Plan, sqlx::Error> {
    let database = identity(connection).await?;
    let migrations: Vec<&Migration> = versions.iter().filter_map(|version| up(*version)).collect();
    let mut read: Vec<Vec<Statement>> = Vec::new();
    let mut tables = BTreeMap::new();
    for migration in &migrations {
        let mut statements = statements::read(migration.sql.as_str());
        for statement in &mut statements {
            if let Some(index) = &statement.index {
                statement.tables.extend(table_of(connection, index).await?);
            }
            for table in &statement.tables {
                if !tables.contains_key(table) {
                    let found = size(connection, table).await?;
                    tables.extend(found.map(|found| (table.clone(), found)));
                }
            }
        }
        read.push(statements);
    }
    let pending = migrations
        .into_iter()
        .zip(read)
        .map(|(migration, statements)| planned(migration, statements, &tables))
        .collect();
    Ok(Plan {
        digest: digest(&database, environment, versions),
        environment,
        database,
        pending,
        tables: tables.into_values().collect(),
    })
}

fn planned(migration: &Migration, statements: Vec<Statement>, tables: &BTreeMap<String, Table>) -> Planned {
    let name = file_name(migration);
    let sql = migration.sql.as_str();
    let steps = statements.into_iter().filter(|statement| !statement.sets_limit);
    Planned {
        version: migration.version,
        checksum: hex::encode(&migration.checksum),
        in_transaction: !migration.no_tx,
        destructive: destructive(sql),
        reviewed: is_reviewed(REVIEWS, &format!("{name}.up.sql"), &hex::encode(sha256(sql.as_bytes()))),
        sql: sql.to_owned(),
        statements: steps
            .map(|statement| Step {
                estimated_seconds: estimate(&statement, tables),
                kind: statement.kind,
                lock: statement.lock,
                blocks: statement.lock.blocks(),
                work: statement.work,
                tables: statement.tables,
            })
            .collect(),
        way_back: down(migration.version).map(|down| WayBack {
            checksum: hex::encode(&down.checksum),
            sql: down.sql.as_str().to_owned(),
            loses: loses_data(down.sql.as_str()),
        }),
        name,
    }
}

/// Without `.up.sql`.
pub(super) fn file_name(migration: &Migration) -> String {
    format!("{:04}_{}", migration.version, migration.description.replace(' ', "_"))
}

fn estimate(statement: &Statement, tables: &BTreeMap<String, Table>) -> Option<f64> {
    let touched = || statement.tables.iter().filter_map(|table| tables.get(table));
    let bytes: f64 = touched().map(|table| table.bytes as f64).sum();
    let rows: f64 = touched().filter_map(|table| table.rows).map(|rows| rows as f64).sum();
    let seconds = match statement.work {
        Work::Metadata => return None,
        Work::Scan => bytes / SCAN_BYTES,
        Work::Index => bytes / INDEX_BYTES,
        Work::Rows => rows / ROWS,
        Work::Rewrite => bytes / REWRITE_BYTES,
    };
    // Of no meaning beyond a tenth.
    Some((seconds * 10.0).ceil() / 10.0)
}

/// Over the texts both ways, the environment and the database: whatever of it is other is another plan.
pub(super) fn digest(database: &Identity, environment: Environment, versions: &[i64]) -> String {
    let mut text = format!(
        "{FORM}\n{}\n{}\n{}\n{}\n",
        environment.as_str(),
        database.system.as_deref().unwrap_or("-"),
        database.oid,
        database.name
    );
    for version in versions {
        let sum = |migration: Option<&Migration>| {
            migration.map_or_else(|| "-".to_owned(), |migration| hex::encode(&migration.checksum))
        };
        let _ = writeln!(text, "{version} {} {}", sum(up(*version)), sum(down(*version)));
    }
    hex::encode(sha256(text.as_bytes()))
}

pub(super) async fn identity(connection: &mut PgConnection) -> Result<Identity, sqlx::Error> {
    let system = deployment::system(connection).await?;
    let found = sqlx::query!(
        r#"SELECT datname::text AS "name!", oid::bigint AS "oid!" FROM pg_database WHERE datname = current_database()"#
    )
    .fetch_one(connection)
    .await?;
    Ok(Identity {
        name: found.name,
        oid: found.oid,
        system,
    })
}

async fn table_of(connection: &mut PgConnection, index: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT c.relname::text AS "name!" FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE i.indexrelid = to_regclass($1)"#,
        index
    )
    .fetch_optional(connection)
    .await
}

async fn size(connection: &mut PgConnection, table: &str) -> Result<Option<Table>, sqlx::Error> {
    let found = sqlx::query!(
        r#"SELECT reltuples::bigint AS "rows!", pg_relation_size(oid) AS "bytes!", pg_total_relation_size(oid) AS "with_indexes!"
           FROM pg_class WHERE oid = to_regclass($1)"#,
        table
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|found| Table {
        name: table.to_owned(),
        rows: (found.rows >= 0).then_some(found.rows),
        bytes: found.bytes,
        bytes_with_indexes: found.with_indexes,
    }))
}

#[cfg(test)]
mod tests {
    use super::{Identity, digest};
    use configuration::Environment::{Production, Staging};

    #[test]
    fn whatever_is_other_is_another_plan() {
        let identity = |name: &str, oid, system: Option<&str>| Identity {
            name: name.to_owned(),
            oid,
            system: system.map(str::to_owned),
        };
        let database = identity("mapleai", 5, Some("7"));
        let digests = [
            digest(&database, Staging, &[1, 2]),
            digest(&database, Production, &[1, 2]),
            digest(&database, Staging, &[2]),
            digest(&identity("mapleai", 5, None), Staging, &[1, 2]),
            digest(&identity("mapleai", 6, Some("7")), Staging, &[1, 2]),
            digest(&identity("maple", 5, Some("7")), Staging, &[1, 2]),
        ];
        let different: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(different.len(), digests.len());
        assert_eq!(digests[0], digest(&database, Staging, &[1, 2]));
    }
}
