//! Writing the events of the audit log that no change goes with.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use people::audit::Audit;
use telemetry::error_chain;

const INTERVAL: Duration = Duration::from_secs(1);

/// Writes what is due until `stop`, and then what is left, once.
pub async fn run(audit: Audit, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        write(&audit, false).await;
    }
    write(&audit, true).await;
}

async fn write(audit: &Audit, is_last: bool) {
    if let Err(error) = audit.write_behind(is_last).await {
        tracing::debug!(target: "mapleai::audit", error = %error_chain(&error), "could not write events of the audit log yet");
    }
}
