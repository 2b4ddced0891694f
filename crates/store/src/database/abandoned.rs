//! Commits that wait for a standby which does not confirm. The client's limit gives them up, and the server waits on: neither
//! `statement_timeout` nor a client that is gone ends that wait (patroni/patroni #2019). Each would keep one of the server's connections
//! until there is none left.

use std::{sync::atomic::Ordering, time::Duration};

use sqlx::{Connection as _, PgConnection};

use super::Database;
use crate::error::StoreError;

/// Beyond the client's own limit.
const MARGIN: f64 = 0.25;

impl Database {
    /// Ends those that nobody waits for any more. What they wrote is committed here, and was answered as not known to be: true if there
    /// are none, also of those that somebody waits for.
    pub(super) async fn end_abandoned(&self) -> bool {
        let limit = self.inner.connect_timeout;
        let Ok(Ok(left)) = tokio::time::timeout(2 * limit, self.look_for_abandoned()).await else {
            return true;
        };
        let waits = left > 0;
        if waits != self.inner.unconfirmed.swap(waits, Ordering::Relaxed) {
            if waits {
                tracing::error!(target: "mapleai::database", "commits wait for a standby that does not confirm; writes are answered 503 at their limit, reads go on");
            } else {
                tracing::warn!(target: "mapleai::database", "commits are confirmed again");
            }
        }
        !waits
    }

    /// Commits of ours that wait, when those at their limit have been told to end.
    async fn look_for_abandoned(&self) -> Result<i64, StoreError> {
        let mut connection: PgConnection = self.open_apart().await?;
        let oldest = self.inner.statement_timeout + Duration::from_secs_f64(MARGIN);
        let waiting = sqlx::query_scalar!(
            r#"SELECT count(CASE WHEN clock_timestamp() - query_start > make_interval(secs => $1) THEN pg_cancel_backend(pid)
                            ELSE true END) AS "waiting!"
               FROM pg_stat_activity
               WHERE datname = current_database() AND usename = current_user AND application_name = 'mapleai'
                 AND wait_event = 'SyncRep'"#,
            oldest.as_secs_f64()
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        Ok(waiting)
    }

    /// Whether commits wait for a standby that does not confirm.
    pub fn is_unconfirmed(&self) -> bool {
        self.inner.unconfirmed.load(Ordering::Relaxed)
    }
}
