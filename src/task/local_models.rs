//! Models that processes beside this one run: what their state files say of them.

use tokio_util::sync::CancellationToken;

use gateway::models::Models;

/// Runs until the process stops; ends at once if there are none.
pub async fn run(models: Models, stop: CancellationToken) {
    let _ = stop.run_until_cancelled_owned(models.watch_local()).await;
}
