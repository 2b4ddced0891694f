//! The circuit breaker of the database: detects that it is unavailable, read-only or out of connections, and that it has
//! recovered. State changes are logged, single requests never.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

use super::{ANSWER_LIMIT, Database, opening::ProbeResult};
use crate::error::{StoreError, Unavailable};
use telemetry::error_chain;

/// Between two checks whether the database is back. Recovery is noticed within this and one connection set-up.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// A database that refused some requests counts as healthy after so long without a refusal; near a limit the log would
/// otherwise change state twice a second. No request waits for this, since the breaker is closed meanwhile.
const QUIET: Duration = Duration::from_secs(3);

impl Database {
    pub(super) fn record_error(&self, error: &StoreError) {
        let StoreError::Unavailable(cause) = error else { return };
        match cause {
            // About one request only, or known already.
            Unavailable::KnownDown | Unavailable::Busy | Unavailable::GivenUp(_) => {}
            Unavailable::ReadOnly(_) => {
                self.note_refusal();
                // Reads go on: the breaker stays closed, and the server refuses each write.
                if !self.inner.read_only.swap(true, Ordering::Relaxed) {
                    tracing::error!(target: "mapleai::database", error = %error_chain(cause), "database takes no writes; refusing requests that write until it does");
                    self.inner.changed.notify_one();
                }
            }
            // One slow statement, or one connection that broke or could not be opened in time. It may be the database, or only
            // load, a lock or a disconnected reader; the watch finds out. Until then other requests are served.
            Unavailable::NoAnswer(_) | Unavailable::Connection(_) => self.inner.changed.notify_one(),
        }
    }

    fn open_breaker(&self, cause: &dyn std::fmt::Display) {
        if !self.inner.down.swap(true, Ordering::Relaxed) {
            tracing::error!(target: "mapleai::database", error = %cause, "database is unavailable; refusing requests that need it until it is back");
        }
    }

    fn close_breaker(&self) {
        if self.inner.down.swap(false, Ordering::Relaxed) {
            tracing::warn!(target: "mapleai::database", "database is back");
        }
    }

    fn note_refusal(&self) {
        let mut refused = self.inner.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused = Some(Instant::now());
    }

    fn is_quiet(&self) -> bool {
        let refused = self.inner.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.is_none_or(|refused| refused.elapsed() >= QUIET)
    }

    /// Probes the database after a failure until it has recovered. Runs until `stop`; without it the breaker never closes
    /// again.
    pub async fn watch(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.inner.changed.notified()).await.is_some() {
            while !self.check_health().await {
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

    /// Probes the database once; true if it has fully recovered.
    ///
    /// It probes an idle connection and a new one at the same time. An answer on either closes the breaker. The breaker opens
    /// if the idle connection gets no answer, or if none is left and no new one can be opened. While requests are being
    /// answered neither counts as evidence: new connections and round trips are slow under load.
    async fn check_health(&self) -> bool {
        let (asking, probing) = (std::pin::pin!(self.ask_idle()), std::pin::pin!(self.probe()));
        let fresh = match select(asking, probing).await {
            Either::Left((probed, probing)) => {
                match probed {
                    Some(ProbeResult::Answered) => self.close_breaker(),
                    Some(ProbeResult::Silent) if !self.has_answered_lately() => {
                        self.open_breaker(&Unavailable::NoAnswer(ANSWER_LIMIT));
                    }
                    Some(ProbeResult::Silent | ProbeResult::Closed) | None => {}
                }
                self.note_new_connection(probing.await, probed)
            }
            // The idle connection need not be probed any more.
            Either::Right((fresh @ Ok(()), _)) => self.note_new_connection(fresh, None),
            Either::Right((fresh, asking)) => {
                let probed = asking.await;
                self.note_new_connection(fresh, probed)
            }
        };
        fresh && self.end_abandoned().await && self.is_settled().await
    }

    /// Sets the breaker by the attempt at a new connection; true if it succeeded. `probed` is the result for idle connections.
    fn note_new_connection(&self, fresh: Result<(), StoreError>, probed: Option<ProbeResult>) -> bool {
        let inner = &self.inner;
        let Err(error) = fresh else {
            self.close_breaker();
            return true;
        };
        let refused = error.is_out_of_connections() || (error.is_login_refused() && self.has_connections());
        // The existing connections work, so the breaker stays closed.
        if refused || probed == Some(ProbeResult::Answered) || self.has_answered_lately() {
            self.note_refusal();
            if !inner.exhausted.swap(true, Ordering::Relaxed) {
                tracing::error!(target: "mapleai::database", error = %error_chain(&error), "database takes no new connections; going on with those there are");
            }
            self.close_breaker();
        } else {
            inner.exhausted.store(false, Ordering::Relaxed);
            if let StoreError::Unavailable(cause) = &error {
                self.open_breaker(cause);
            }
        }
        false
    }

    /// Whether a database that answers has refused no request for a while, and takes writes.
    async fn is_settled(&self) -> bool {
        let inner = &self.inner;
        if !self.is_quiet() {
            return false;
        }
        if inner.exhausted.swap(false, Ordering::Relaxed) {
            tracing::warn!(target: "mapleai::database", "database takes connections again");
        }
        if inner.read_only.load(Ordering::Relaxed) && self.takes_writes().await {
            inner.read_only.store(false, Ordering::Relaxed);
            tracing::warn!(target: "mapleai::database", "database takes writes again");
        }
        !inner.read_only.load(Ordering::Relaxed)
    }

    async fn takes_writes(&self) -> bool {
        let check_health = async {
            let mut connection = self.open_apart().await?;
            let writable = sqlx::query_scalar!(
                r#"SELECT current_setting('transaction_read_only') = 'off' AND NOT pg_is_in_recovery() AS "writable!""#
            )
            .fetch_one(&mut connection)
            .await?;
            connection.close().await?;
            Ok::<_, StoreError>(writable)
        };
        matches!(
            tokio::time::timeout(2 * self.inner.connect_timeout, check_health).await,
            Ok(Ok(true))
        )
    }

    /// Whether writes are known to be refused.
    pub fn is_read_only(&self) -> bool {
        self.inner.read_only.load(Ordering::Relaxed)
    }
}
