//! Carrying usage records to the database.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use gateway::usage::Usage;
use people::api_keys::ApiKeys;
use telemetry::{
    error_chain,
    metrics::{USAGE_BACKLOG, USAGE_WRITTEN},
};

/// After a failure; the database's own memory of being down makes tries cheap.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two notes of when keys were last used.
const NOTE_INTERVAL: Duration = Duration::from_secs(5);

/// Writes batches until `stop`. What is left then is for [`drain`].
pub async fn run(usage: Usage, interval: Duration, stop: CancellationToken) {
    let written = metrics::counter!(USAGE_WRITTEN);
    let backlog = metrics::gauge!(USAGE_BACKLOG);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = usage.gather(interval) => {}
        }
        // Not cancelled while it writes: a batch whose insert was cut off would be sent again, which costs, if no more.
        let flushed = usage.write().await;
        backlog.set(usage.backlog() as f64);
        match flushed {
            Ok(count) => {
                written.increment(count as u64);
                if failing {
                    tracing::warn!(target: "mapleai::usage", "usage records are being written again");
                    failing = false;
                }
            }
            Err(error) => {
                if !failing {
                    tracing::error!(target: "mapleai::usage", error = %error_chain(&error), "usage records cannot be written; they wait in memory");
                    failing = true;
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}

/// Writes what is left, within `limit`. Gives how many records were written and how many had to be given up.
pub async fn drain(usage: &Usage, limit: Duration) -> (u64, u64) {
    let deadline = tokio::time::Instant::now() + limit;
    let mut written = 0;
    while tokio::time::Instant::now() < deadline {
        let flush = async {
            usage.gather(Duration::ZERO).await;
            usage.write().await
        };
        match tokio::time::timeout_at(deadline, flush).await {
            Ok(Ok(0)) => return (written, 0),
            Ok(Ok(count)) => written += count as u64,
            Ok(Err(_)) => tokio::time::sleep(PAUSE.min(limit / 4)).await,
            Err(_) => break,
        }
    }
    (written, usage.unwritten() as u64)
}

/// Notes when keys were last used.
pub async fn note_key_use(keys: ApiKeys, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(NOTE_INTERVAL) => {}
        }
        if let Err(error) = keys.note_used().await {
            tracing::debug!(target: "mapleai::usage", error = %error_chain(&error), "key use could not be noted; it is kept for the next time");
        }
    }
}
