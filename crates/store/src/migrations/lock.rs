//! The lock that one process holds while it migrates, and who holds it.

use std::time::Duration;

use sqlx::PgConnection;

use super::MigrationError;
use crate::StoreError;

/// Held while migrating. Any fixed number does, as long as every release uses the same.
const LOCK: i64 = 0x6d61_706c_6561_6901;
/// How long to wait for another process that is migrating.
const LOCK_LIMIT: Duration = Duration::from_mins(2);
/// Between two looks.
const RETRY: Duration = Duration::from_millis(200);
/// Between two lines about it.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Takes it, or says who has it after the limit. The session's end releases it.
pub(super) async fn take(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let started = std::time::Instant::now();
    let mut logged_at: Option<std::time::Instant> = None;
    loop {
        let got = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "got!""#, LOCK)
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::from)?;
        if got {
            return Ok(());
        }
        let waited = started.elapsed();
        let is_over = waited > LOCK_LIMIT;
        if is_over || logged_at.is_none_or(|at| at.elapsed() > LOG_INTERVAL) {
            logged_at = Some(std::time::Instant::now());
            let holder = holder(connection).await?;
            if is_over {
                return Err(MigrationError::Locked { holder, waited });
            }
            tracing::warn!(target: "mapleai::lifecycle", holder, waited_seconds = waited.as_secs(), "waiting for another process that is migrating");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Who holds the lock, as far as this role may know.
async fn holder(connection: &mut PgConnection) -> Result<String, StoreError> {
    let found = sqlx::query!(
        r#"SELECT l.pid AS "pid!", a.application_name, a.client_addr::text AS address, a.backend_start::text AS since
           FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
           WHERE l.locktype = 'advisory' AND l.granted
             AND ((l.classid::bigint << 32) | l.objid::bigint) = $1"#,
        LOCK
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map_or_else(
        || "gone by now".to_owned(),
        |found| {
            format!(
                "pid {}, {:?} at {}, since {}",
                found.pid,
                found.application_name.unwrap_or_default(),
                found.address.as_deref().unwrap_or("the server itself"),
                found.since.as_deref().unwrap_or("an unknown time")
            )
        },
    ))
}
