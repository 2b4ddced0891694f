//! Watching the journal's disk, and taking up what processes that died left in the journal.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use gateway::usage::{Usage, journal::WATCH_INTERVAL};

/// Between two looks for journals of processes that died: those of other instances in the same folder, or on a disk that
/// was not there at the start.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Sees whether the disk takes what it is given, until `stop`.
pub async fn watch(usage: Usage, stop: CancellationToken) {
    while tokio::time::timeout(WATCH_INTERVAL, stop.cancelled()).await.is_err() {
        usage.watch_journal();
    }
}

/// Takes leftovers to the database, at once and then now and again, until `stop`.
pub async fn replay(usage: Usage, stop: CancellationToken) {
    let Some(mut replay) = usage.replay() else { return };
    loop {
        replay.run(&stop).await;
        if tokio::time::timeout(LOOK_INTERVAL, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}
