//! Notices a runtime that no longer runs its tasks: every worker stuck in something that blocks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Between two signs of life.
const INTERVAL: Duration = Duration::from_secs(1);
/// Without a sign of life for this long the process is better started anew.
const SILENCE_MEANS_DEATH: Duration = Duration::from_secs(10);

/// Cheap to clone.
#[derive(Clone)]
pub struct Watchdog(Arc<WatchdogInner>);

struct WatchdogInner {
    started: Instant,
    /// Milliseconds from the start to the last sign of life.
    last: AtomicU64,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self(Arc::new(WatchdogInner {
            started: Instant::now(),
            last: AtomicU64::new(0),
        }))
    }
}

impl Watchdog {
    /// Gives signs of life until dropped. To run in the runtime that is watched.
    pub async fn run(self) {
        let mut interval = tokio::time::interval(INTERVAL);
        loop {
            interval.tick().await;
            self.beat(self.0.started.elapsed());
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.is_alive_at(self.0.started.elapsed())
    }

    fn beat(&self, age: Duration) {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(age, Ordering::Relaxed);
    }

    fn is_alive_at(&self, age: Duration) -> bool {
        let last = Duration::from_millis(self.0.last.load(Ordering::Relaxed));
        age.saturating_sub(last) < SILENCE_MEANS_DEATH
    }
}

#[cfg(test)]
mod tests {
    use super::Watchdog;
    use std::time::Duration;

    #[test]
    fn silence_is_noticed_and_forgiven() {
        let watchdog = Watchdog::default();
        let at = Duration::from_secs;
        assert!(watchdog.is_alive_at(at(9)));
        assert!(!watchdog.is_alive_at(at(10)));
        watchdog.beat(at(20));
        assert!(watchdog.is_alive_at(at(29)));
        assert!(!watchdog.is_alive_at(at(31)));
    }
}
