//! Noticing that the database is away, takes no writes or no more connections, and noticing that it is well again. States
//! are logged when they change, never per request.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::{Database, PROBE_LIMIT};
use crate::store::error::{StoreError, Unavailable};

/// Between two looks whether the database is back. Recovery is noticed within this and one connection set-up.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// A database that refuses some requests is well when it looks well and has refused none for so long: near a limit it would
/// otherwise be told of twice a second. Nobody waits for it, since such a database is asked all the while.
const QUIET: Duration = Duration::from_secs(3);

impl Database {
    pub(super) fn judge(&self, error: &StoreError) {
        let StoreError::Unavailable(cause) = error else { return };
        match cause {
            // These speak of one request, or of what is known.
            Unavailable::KnownDown | Unavailable::Busy | Unavailable::GivenUp(_) => {}
            Unavailable::ReadOnly(_) => {
                self.note_refusal();
                // Reads go on: the gate stays open, and only writes are refused, each by the server.
                if !self.0.read_only.swap(true, Ordering::Relaxed) {
                    tracing::error!(target: "mapleai::database", error = %cause, "database takes no writes; refusing requests that write until it does");
                    self.0.changed.notify_one();
                }
            }
            // No connection was to be had in time. Whether nobody answers or the server has no more of them, the watch
            // finds out; until then those who get one of the pool's are served.
            Unavailable::Connection(sqlx::Error::PoolTimedOut) => self.0.changed.notify_one(),
            Unavailable::NoAnswer(_) | Unavailable::Connection(_) => {
                if !self.0.exhausted.load(Ordering::Relaxed) && self.close_gate(cause) {
                    self.0.changed.notify_one();
                }
            }
        }
    }

    /// True if the gate was open.
    fn close_gate(&self, cause: &Unavailable) -> bool {
        let was_open = !self.0.down.swap(true, Ordering::Relaxed);
        if was_open {
            tracing::error!(target: "mapleai::database", error = %cause, "database is unavailable; refusing requests that need it until it is back");
        }
        was_open
    }

    fn note_refusal(&self) {
        let mut refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused = Some(Instant::now());
    }

    fn is_quiet(&self) -> bool {
        let refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.is_none_or(|refused| refused.elapsed() >= QUIET)
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
                if shared.down.swap(false, Ordering::Relaxed) {
                    tracing::warn!(target: "mapleai::database", "database is back");
                }
                if !self.is_quiet() {
                    return false;
                }
                if shared.exhausted.swap(false, Ordering::Relaxed) {
                    tracing::warn!(target: "mapleai::database", "database takes connections again");
                }
                if shared.read_only.load(Ordering::Relaxed) && self.takes_writes().await {
                    shared.read_only.store(false, Ordering::Relaxed);
                    tracing::warn!(target: "mapleai::database", "database takes writes again");
                }
                !shared.read_only.load(Ordering::Relaxed)
            }
            // The connections that the pool has are good: no reason to turn everybody away.
            Err(error) if error.is_out_of_connections() || (error.is_login_refused() && self.has_connections()) => {
                self.note_refusal();
                if !shared.exhausted.swap(true, Ordering::Relaxed) {
                    tracing::error!(target: "mapleai::database", error = %error, "database takes no new connections; going on with those there are");
                }
                shared.down.store(false, Ordering::Relaxed);
                false
            }
            Err(error) => {
                shared.exhausted.store(false, Ordering::Relaxed);
                if let StoreError::Unavailable(cause) = &error {
                    self.close_gate(cause);
                }
                false
            }
        }
    }

    async fn takes_writes(&self) -> bool {
        let look = async {
            let mut connection = PgConnection::connect_with(&self.0.pool.connect_options()).await?;
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
