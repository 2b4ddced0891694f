//! Writing the database's marker, and looking how old what its copies have is.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use store::replica::Watch;
use telemetry::error_chain;

/// How old the marker gets. What a restored database lacks is measured by it, so it bounds how exactly.
const INTERVAL: Duration = Duration::from_secs(5);
/// Instances look more often, since each may find that another has just written it.
const LOOK_INTERVAL: Duration = Duration::from_millis(2_500);

pub async fn run(copies: Watch, stop: CancellationToken) {
    for probes in [true, false].into_iter().cycle() {
        if probes {
            // A connection of its own shows where the address leads by now, also while those that are open go on.
            let _ = stop.run_until_cancelled(copies.probe()).await;
        }
        match stop.run_until_cancelled(copies.look(INTERVAL)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::debug!(target: "mapleai::database", error = %error_chain(&error), "could not write the marker");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}
