//! Who holds what a migration waits for.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// So many are named.
const NAMED: i64 = 5;

/// Sessions that hold locks on these tables, the oldest transaction first, as far as this role may see them. Where the tables are
/// not known: all that have been in a transaction for longer than a moment.
pub(super) async fn named(connection: &mut PgConnection, tables: &[String]) -> Result<String, sqlx::Error> {
    let found = sqlx::query!(
        r#"SELECT a.pid AS "pid!", a.application_name AS application, a.xact_start AS since, a.state, left(a.query, 200) AS query
           FROM pg_stat_activity a
           WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() AND EXISTS (
               SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
               WHERE l.pid = a.pid AND l.locktype = 'relation' AND l.granted AND l.database = (
                       SELECT oid FROM pg_database WHERE datname = current_database())
                   AND (cardinality($1::text[]) = 0 OR c.oid IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)))
           ORDER BY a.xact_start NULLS LAST LIMIT $2"#,
        tables,
        NAMED
    )
    .fetch_all(connection)
    .await?;
    let mut text = String::new();
    for one in found {
        let separator = if text.is_empty() { "" } else { "; " };
        let since: Option<DateTime<Utc>> = one.since;
        let since = since.map_or_else(
            || "an unknown time".to_owned(),
            |since| since.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        );
        let _ = write!(
            text,
            "{separator}pid {}, {:?}, {}, in a transaction since {since}, last query: {}",
            one.pid,
            one.application.unwrap_or_default(),
            one.state.as_deref().unwrap_or("state unknown"),
            one.query.as_deref().unwrap_or("unknown")
        );
    }
    if text.is_empty() {
        "somebody who is gone by now".clone_into(&mut text);
    }
    Ok(text)
}
