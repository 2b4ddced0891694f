//! Models of providers that list their own: those that they have when the process starts, which does not wait for them, those of
//! providers that were away then, or had none yet, and those that come later.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use gateway::models::Models;

/// Between two attempts where a provider has listed nothing yet.
const INTERVAL: Duration = Duration::from_secs(10);
/// So many attempts apart, all are asked, for models that are new.
const EVERY: u32 = 30;

/// Runs until the process stops; ends at once if no provider lists its models.
pub async fn run(models: Models, stop: CancellationToken) {
    if !models.are_discovered() {
        return;
    }
    let asking = async {
        models.discover(false).await;
        for attempt in (1..=EVERY).cycle() {
            tokio::time::sleep(INTERVAL).await;
            models.discover(attempt == EVERY).await;
        }
    };
    let _ = stop.run_until_cancelled_owned(asking).await;
}
