//! What a database server says of itself, for operators.

pub mod safety;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::Connection as _;

use super::{Database, StoreError, error::Unavailable};

/// The whole examination takes no longer.
const LIMIT: Duration = Duration::from_secs(4);

/// One look at a server.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    /// As `server_version_num`: 150004 is 15.4.
    pub version: i32,
    pub max_connections: i32,
    pub connections: i64,
    /// The server's own clock.
    pub now: DateTime<Utc>,
    pub is_replica: bool,
    pub is_read_only: bool,
    /// How far the log of changes has come here, in bytes: written, or replayed by a replica.
    pub position: i64,
    /// When its newest marker was written, by the primary's clock. What a standby says of its own lag is what it has received: one
    /// that is cut off has none by that (prometheus-community/postgres_exporter #545).
    pub marker: Option<DateTime<Utc>>,
}

impl Database {
    /// Asks over a connection of its own.
    pub async fn diagnose(&self) -> Result<Diagnosis, StoreError> {
        let look = async {
            let mut connection = self.connect().await?;
            let found = sqlx::query!(
                r#"SELECT current_setting('server_version_num')::int AS "version!",
                          current_setting('max_connections')::int AS "max_connections!",
                          (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS "connections!",
                          clock_timestamp() AS "now!",
                          pg_is_in_recovery() AS "is_replica!",
                          current_setting('transaction_read_only') = 'on' AS "is_read_only!",
                          (COALESCE(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, '0/0')
                           - '0/0')::bigint AS "position!",
                          to_regclass('markers') IS NOT NULL AS "has_markers!""#
            )
            .fetch_one(&mut connection)
            .await?;
            // Not there before its migration: no compile-time check.
            let marker = if found.has_markers {
                let written = "SELECT written_at FROM markers WHERE number > 0";
                sqlx::query_scalar(written).fetch_optional(&mut connection).await?
            } else {
                None
            };
            connection.close().await?;
            Ok(Diagnosis {
                version: found.version,
                max_connections: found.max_connections,
                connections: found.connections,
                now: found.now,
                is_replica: found.is_replica,
                is_read_only: found.is_read_only,
                position: found.position,
                marker,
            })
        };
        match tokio::time::timeout(LIMIT, look).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Unavailable(Unavailable::NoAnswer(LIMIT))),
        }
    }
}
