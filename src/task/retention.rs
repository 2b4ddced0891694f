//! Deleting what is kept no longer, now and then.

use tokio_util::sync::CancellationToken;

use people::retention::Retention;

pub async fn run(retention: Retention, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(retention.interval()) => {}
        }
        if stop.run_until_cancelled(retention.sweep()).await.is_none() {
            return;
        }
    }
}
