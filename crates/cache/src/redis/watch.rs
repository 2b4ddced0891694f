//! Looking after what does not answer, or takes no writes.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use deadpool_redis::redis;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{BACKGROUND_LIMIT, Redis, RedisError};
use telemetry::error_chain;

/// Between two looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// A part that does not come back on this connection by then is tried on a new one, and again after as long.
pub(super) const RECONNECT_AFTER: Duration = Duration::from_millis(400);

/// Reasons told of one absence.
const MAX_LOGGED_REASONS: usize = 4;

impl Redis {
    /// Connects, and looks after what does not answer, until told to stop.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut connected: Option<Instant> = None;
        let work = async {
            loop {
                self.look(&mut connected).await;
                tokio::time::sleep(WATCH_INTERVAL).await;
            }
        };
        let _ = stop.run_until_cancelled(work).await;
    }

    async fn look(&self, connected: &mut Option<Instant>) {
        let breakers = &self.0.breakers;
        if self.current().is_some() && !breakers.any_open() && !breakers.any_suspected() && !breakers.any_refusing() {
            self.tell(true);
            return;
        }
        if self.current().is_none() && connected.is_none() {
            // Nobody has asked it anything yet: whether it is there shows now.
            let made = self.replace().await;
            *connected = Some(Instant::now());
            self.tell(made.is_ok());
            if let Err(error) = made {
                self.tell_why(&error);
            }
            return;
        }
        if let Some(link) = self.current() {
            let probes = breakers.open_parts().chain(breakers.suspected_parts()).map(|part| {
                let mut link = link.clone();
                async move {
                    let mut probe = redis::cmd("EXISTS");
                    probe.arg(part.probe_key());
                    let answer = tokio::time::timeout(BACKGROUND_LIMIT, link.query::<redis::Value>(&probe)).await;
                    match answer {
                        Ok(Ok(_)) => part.close(),
                        // A call that was late may have been alone with it; so is nobody whom the probe joins.
                        Ok(Err(_)) | Err(_) => part.open(),
                    }
                }
            });
            join_all(probes).await;
            if !breakers.any_open() {
                self.tell(true);
                self.look_at_refusals(connected).await;
                return;
            }
        }
        self.tell(false);
        if connected.is_none_or(|at| at.elapsed() >= RECONNECT_AFTER) {
            if let Err(error) = self.replace().await {
                self.tell_why(&error);
            }
            *connected = Some(Instant::now());
        }
    }

    /// Each reason once while it is away: without it a certificate that is not believed looks like a server that is down.
    fn tell_why(&self, error: &RedisError) {
        let error = error_chain(error);
        let mut reasons = self.0.logged_reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() < MAX_LOGGED_REASONS && !reasons.contains(&error) {
            tracing::warn!(target: "mapleai::cache", address = self.address(), error, "no connection to Redis");
            reasons.push(error);
        }
    }

    /// Changes of state are told, not calls.
    fn tell(&self, is_there: bool) {
        if is_there {
            self.0
                .logged_reasons
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        }
        if self.0.logged_away.swap(!is_there, Ordering::Relaxed) == is_there {
            if is_there {
                tracing::info!(target: "mapleai::cache", address = self.address(), "Redis answers again");
            } else {
                tracing::warn!(target: "mapleai::cache", address = self.address(), "Redis, or a part of it, does not answer; going on without");
            }
        }
    }
}
