//! Models of providers that were away when the process started.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::service::models::Models;

const INTERVAL: Duration = Duration::from_secs(10);

/// Ends once all are known.
pub async fn run(models: Models, stop: CancellationToken) {
    let asking = async {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if models.discover().await {
                return;
            }
        }
    };
    let _ = stop.run_until_cancelled_owned(asking).await;
}
