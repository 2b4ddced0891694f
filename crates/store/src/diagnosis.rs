//! What a database server says of itself, for operators.

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
    /// Of a replica: seconds since the last change it has replayed.
    pub lag_seconds: Option<f64>,
}

impl Database {
    /// Asks over a connection of its own.
    pub async fn diagnose(&self) -> Result<Diagnosis, StoreError> {
        let look = async {
            let mut connection = self.connect().await?;
            let found = sqlx::query_as!(
                Diagnosis,
                r#"SELECT current_setting('server_version_num')::int AS "version!",
                          current_setting('max_connections')::int AS "max_connections!",
                          (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS "connections!",
                          clock_timestamp() AS "now!",
                          pg_is_in_recovery() AS "is_replica!",
                          current_setting('transaction_read_only') = 'on' AS "is_read_only!",
                          CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
                               ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
                          END::float8 AS lag_seconds"#
            )
            .fetch_one(&mut connection)
            .await?;
            connection.close().await?;
            Ok(found)
        };
        match tokio::time::timeout(LIMIT, look).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Unavailable(Unavailable::NoAnswer(LIMIT))),
        }
    }
}
