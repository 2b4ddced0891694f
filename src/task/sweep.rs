//! Tidying up: answers whose writer died, sessions long over, expired entries of caches.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::service::readiness::Readiness;
use gateway::caches::Caches;
use people::{answers::Answers, sessions::Sessions};
use telemetry::error_chain;

const INTERVAL: Duration = Duration::from_secs(30);
/// Between two looks for answers that were put aside while the database was away.
const SPOOL_INTERVAL: Duration = Duration::from_secs(2);

/// Stores answers that were put aside, from the start on.
pub async fn spooled(answers: Answers, stop: CancellationToken) {
    loop {
        match answers.store_spooled().await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(target: "mapleai::answers", count, "stored answers that were kept in files"),
            Err(error) => {
                tracing::debug!(target: "mapleai::answers", error = %error, "could not store answers from files");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SPOOL_INTERVAL) => {}
        }
    }
}

/// Begins once there is a database to look through.
pub async fn run(answers: Answers, sessions: Sessions, caches: Caches, readiness: Readiness, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = readiness.started() => {}
    }
    loop {
        match answers.sweep().await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(target: "mapleai::answers", count, "closed answers whose writer had died"),
            Err(error) => {
                tracing::debug!(target: "mapleai::answers", error = %error_chain(&error), "could not sweep answers");
            }
        }
        if let Err(error) = sessions.sweep().await {
            tracing::debug!(target: "mapleai::sessions", error = %error_chain(&error), "could not sweep sessions");
        }
        // Looks at every entry that there is, on a thread where nobody's request waits for it.
        let caches = caches.clone();
        let _ = tokio::task::spawn_blocking(move || caches.free_expired()).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
