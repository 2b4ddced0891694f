//! Calls that are open at a server on this machine, so that work in the background can keep out of their way.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Cheap to clone. Counts what people and programs ask, not what is asked in the background.
#[derive(Clone)]
pub struct OpenCalls(Arc<watch::Sender<Calls>>);

#[derive(Clone, Copy, Default)]
struct Calls {
    open: usize,
    /// When the last one ended.
    ended: Option<Instant>,
}

/// One of them, until it is dropped.
pub struct OpenCall(OpenCalls);

impl Default for OpenCalls {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Calls::default())))
    }
}

impl OpenCalls {
    pub fn begin(&self) -> OpenCall {
        self.0.send_modify(|calls| calls.open += 1);
        OpenCall(self.clone())
    }

    /// Waits until one is open.
    pub async fn any(&self) {
        // The sender is here: the wait does not end otherwise.
        let _ = self.0.subscribe().wait_for(|calls| calls.open > 0).await;
    }

    /// Waits until none has been open for so long.
    pub async fn none_for(&self, span: Duration) {
        let mut changes = self.0.subscribe();
        loop {
            let ended = match changes.wait_for(|calls| calls.open == 0).await {
                Ok(calls) => calls.ended,
                Err(_) => return,
            };
            let free = ended.map(|ended| ended + span);
            let Some(free) = free.filter(|free| *free > Instant::now()) else {
                return;
            };
            // Looked at again then: there may have been others meanwhile.
            sleep_until(free).await;
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.0.send_modify(|calls| {
            calls.open -= 1;
            calls.ended = Some(Instant::now());
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::OpenCalls;

    const SPAN: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn a_server_that_nobody_asks_is_free_at_once() {
        let calls = OpenCalls::default();
        let started = Instant::now();
        calls.none_for(SPAN).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert!(timeout(SPAN, calls.any()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_begins_anew_with_each_call() {
        let calls = OpenCalls::default();
        let (first, second) = (calls.begin(), calls.begin());
        calls.any().await;
        drop(first);
        assert!(timeout(2 * SPAN, calls.none_for(SPAN)).await.is_err());
        drop(second);
        let ended = Instant::now();
        let waiting = calls.none_for(SPAN);
        tokio::pin!(waiting);
        assert!(timeout(SPAN / 2, &mut waiting).await.is_err());
        drop(calls.begin());
        waiting.await;
        assert_eq!(ended.elapsed(), SPAN / 2 + SPAN);
    }
}
