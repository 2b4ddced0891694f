//! How far replicas are behind. A migration that writes much is what puts them there.

use std::time::Duration;

use sqlx::PgConnection;

use super::MigrationError;
use crate::StoreError;

/// Refuses to go on while a replica is behind by more.
pub(super) async fn check(connection: &mut PgConnection, max: Duration, max_bytes: u64) -> Result<(), MigrationError> {
    let found = sqlx::query!(
        r#"SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::float8 AS bytes,
                  max(extract(epoch FROM replay_lag))::float8 AS seconds, count(*) AS "replicas!"
           FROM pg_stat_replication"#
    )
    .fetch_one(connection)
    .await
    .map_err(StoreError::from)?;
    let bytes = found.bytes.unwrap_or_default();
    let behind = Duration::try_from_secs_f64(found.seconds.unwrap_or_default()).unwrap_or_default();
    if found.replicas > 0 && found.bytes.is_none() {
        tracing::warn!(target: "mapleai::lifecycle", replicas = found.replicas, "this role may not see how far replicas are behind (pg_monitor would)");
    }
    if behind > max || bytes > max_bytes as f64 {
        return Err(MigrationError::Lag {
            behind,
            bytes: bytes.round().to_string(),
            max,
            max_bytes,
        });
    }
    Ok(())
}
