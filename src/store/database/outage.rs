//! Noticing that the database is away, takes no writes or no more connections, and noticing that it is well again. States
//! are logged when they change, never per request.

use std::{sync::atomic::Ordering, time::Duration};

use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::{Database, PROBE_LIMIT};
use crate::store::error::{StoreError, Unavailable};

/// Between two looks whether the database is back. Recovery is noticed within this and one connection set-up.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

impl Database {
    pub(super) fn judge(&self, error: &StoreError) {
        let StoreError::Unavailable(cause) = error else { return };
        if matches!(cause, Unavailable::ReadOnly(_)) {
            // Reads go on: the gate stays open, and only writes are refused, each by the server.
            if !self.0.read_only.swap(true, Ordering::Relaxed) {
                tracing::error!(target: "mapleai::database", error = %cause, "database takes no writes; refusing requests that write until it does");
                self.0.changed.notify_one();
            }
            return;
        }
        if self.0.exhausted.load(Ordering::Relaxed) {
            return;
        }
        if !self.0.down.swap(true, Ordering::Relaxed) {
            tracing::error!(target: "mapleai::database", error = %cause, "database is unavailable; refusing requests that need it until it is back");
            self.0.changed.notify_one();
        }
    }

    /// Watches for the database's return whenever it has gone. Runs until `stop`; must be running for the gate to open
    /// again.
    pub async fn watch(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.0.changed.notified()).await.is_some() {
            while !self.look().await {
                if stop
                    .run_until_cancelled(tokio::time::sleep(PROBE_INTERVAL))
                    .await
                    .is_none()
                {
                    return;
                }
            }
        }
    }

    /// One look at a database that was in trouble; true if all is well again.
    async fn look(&self) -> bool {
        let shared = &self.0;
        match self.probe().await {
            Ok(()) => {
                shared.exhausted.store(false, Ordering::Relaxed);
                if shared.down.swap(false, Ordering::Relaxed) {
                    tracing::warn!(target: "mapleai::database", "database is back");
                }
                if shared.read_only.load(Ordering::Relaxed) && self.takes_writes().await {
                    shared.read_only.store(false, Ordering::Relaxed);
                    tracing::warn!(target: "mapleai::database", "database takes writes again");
                }
                !shared.read_only.load(Ordering::Relaxed)
            }
            // The connections that the pool has are good: no reason to turn everybody away.
            Err(error) if error.is_out_of_connections() => {
                if !shared.exhausted.swap(true, Ordering::Relaxed) {
                    tracing::error!(target: "mapleai::database", error = %error, "database takes no more connections; going on with those there are");
                }
                shared.down.store(false, Ordering::Relaxed);
                false
            }
            Err(_) => {
                shared.exhausted.store(false, Ordering::Relaxed);
                shared.down.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    async fn takes_writes(&self) -> bool {
        let look = async {
            let mut connection = PgConnection::connect_with(&self.0.options).await?;
            let writable = sqlx::query_scalar!(
                r#"SELECT current_setting('transaction_read_only') = 'off' AND NOT pg_is_in_recovery() AS "writable!""#
            )
            .fetch_one(&mut connection)
            .await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>(writable)
        };
        matches!(tokio::time::timeout(PROBE_LIMIT, look).await, Ok(Ok(true)))
    }

    /// Whether writes are known to be refused.
    pub fn is_read_only(&self) -> bool {
        self.0.read_only.load(Ordering::Relaxed)
    }
}
