//! Noticing that the database is away, takes no writes or no more connections, and noticing that it is well again. States
//! are logged when they change, never per request.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

use super::{ANSWER_LIMIT, Database, opening::Asked};
use crate::{
    store::error::{StoreError, Unavailable},
    telemetry::error_chain,
};

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
                if !self.shared.read_only.swap(true, Ordering::Relaxed) {
                    tracing::error!(target: "mapleai::database", error = %error_chain(cause), "database takes no writes; refusing requests that write until it does");
                    self.shared.changed.notify_one();
                }
            }
            // One statement that took too long, one connection that broke or was not to be had in time: whether that is the
            // database or only load, a lock or a reader who left, the watch finds out. Until then others are served.
            Unavailable::NoAnswer(_) | Unavailable::Connection(_) => self.shared.changed.notify_one(),
        }
    }

    fn close_gate(&self, cause: &dyn std::fmt::Display) {
        if !self.shared.down.swap(true, Ordering::Relaxed) {
            tracing::error!(target: "mapleai::database", error = %cause, "database is unavailable; refusing requests that need it until it is back");
        }
    }

    fn open_gate(&self) {
        if self.shared.down.swap(false, Ordering::Relaxed) {
            tracing::warn!(target: "mapleai::database", "database is back");
        }
    }

    fn note_refusal(&self) {
        let mut refused = self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused = Some(Instant::now());
    }

    fn is_quiet(&self) -> bool {
        let refused = self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.is_none_or(|refused| refused.elapsed() >= QUIET)
    }

    /// Watches for the database's return whenever it has gone. Runs until `stop`; must be running for the gate to open
    /// again.
    pub async fn watch(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.shared.changed.notified()).await.is_some() {
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

    /// One look at a database that may be in trouble; true if all is well again.
    ///
    /// Over a connection that is open, and over a new one, at once. Either that answers keeps the gate open. It closes if
    /// nobody answers on a connection that was open, or none is left and no new one is to be had. While requests are being
    /// answered neither is evidence: new connections and round trips are slow then because much is going on.
    async fn look(&self) -> bool {
        let (asking, probing) = (std::pin::pin!(self.ask_idle()), std::pin::pin!(self.probe()));
        let fresh = match select(asking, probing).await {
            Either::Left((asked, probing)) => {
                match asked {
                    Some(Asked::Answered) => self.open_gate(),
                    Some(Asked::Silent) if !self.has_answered_lately() => {
                        self.close_gate(&Unavailable::NoAnswer(ANSWER_LIMIT));
                    }
                    Some(Asked::Silent | Asked::Closed) | None => {}
                }
                self.note_new_connection(probing.await, asked)
            }
            // What is open need not be asked any more.
            Either::Right((fresh @ Ok(()), _)) => self.note_new_connection(fresh, None),
            Either::Right((fresh, asking)) => {
                let asked = asking.await;
                self.note_new_connection(fresh, asked)
            }
        };
        fresh && self.is_settled().await
    }

    /// Draws the conclusions from a new connection; true if there was one. `asked` is what came of those that were open.
    fn note_new_connection(&self, fresh: Result<(), StoreError>, asked: Option<Asked>) -> bool {
        let shared = &self.shared;
        let Err(error) = fresh else {
            self.open_gate();
            return true;
        };
        let refused = error.is_out_of_connections() || (error.is_login_refused() && self.has_connections());
        // The connections that there are are good: no reason to turn everybody away.
        if refused || asked == Some(Asked::Answered) || self.has_answered_lately() {
            self.note_refusal();
            if !shared.exhausted.swap(true, Ordering::Relaxed) {
                tracing::error!(target: "mapleai::database", error = %error_chain(&error), "database takes no new connections; going on with those there are");
            }
            self.open_gate();
        } else {
            shared.exhausted.store(false, Ordering::Relaxed);
            if let StoreError::Unavailable(cause) = &error {
                self.close_gate(cause);
            }
        }
        false
    }

    /// Whether a database that answers has also refused nobody for a while, and takes writes.
    async fn is_settled(&self) -> bool {
        let shared = &self.shared;
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

    async fn takes_writes(&self) -> bool {
        let look = async {
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
            tokio::time::timeout(2 * self.shared.connect_timeout, look).await,
            Ok(Ok(true))
        )
    }

    /// Whether writes are known to be refused.
    pub fn is_read_only(&self) -> bool {
        self.shared.read_only.load(Ordering::Relaxed)
    }
}
