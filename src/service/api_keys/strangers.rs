//! Callers with keys that nobody has. Each such key costs a look in Redis and in the database, and whoever makes keys up has
//! no end of them: so they are bounded by address, and all looks for keys that are not in memory in number.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::{Counter, counter};
use tokio::sync::Semaphore;

use crate::{
    service::throttle::{Limit, Throttled, network_of},
    store::{StoreError, error::Unavailable},
    telemetry::metrics::REFUSALS,
};

/// Looks at a time: few enough to leave the pool to others, and at a millisecond each, thousands a second.
const TURNS: usize = 5;
/// For a turn, as for a connection.
const PATIENCE: Duration = Duration::from_millis(500);

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Strangers(Arc<Inner>);

struct Inner {
    unknown: Limit<IpAddr>,
    window: Duration,
    began: Instant,
    /// Milliseconds after `began` when an address was last found to be over its limit, and one more. 0: none ever was, and
    /// the hot path looks no further.
    last_over: AtomicU64,
    turns: Semaphore,
    refused: Counter,
}

impl Strangers {
    /// Each address may present `most` unknown keys in a `window`.
    pub(super) fn new(most: u32, window: Duration) -> Self {
        Self(Arc::new(Inner {
            unknown: Limit::new(most, window),
            window,
            began: Instant::now(),
            last_over: AtomicU64::new(0),
            turns: Semaphore::new(TURNS),
            refused: counter!(REFUSALS, "reason" => "unknown_keys"),
        }))
    }

    /// Why a key that is not in memory is not looked for, if this address has presented too many that nobody has.
    pub(super) fn refusal(&self, from: IpAddr) -> Option<Throttled> {
        let last = self.0.last_over.load(Ordering::Relaxed);
        if last == 0 || self.age().saturating_sub(last) > millis(self.0.window) {
            return None;
        }
        self.0.unknown.full(&network_of(from))
    }

    pub(super) fn count_refusal(&self) {
        self.0.refused.increment(1);
    }

    /// Looks a key up in turn, and remembers that nobody has it.
    pub(super) async fn look_up<T>(
        &self,
        from: IpAddr,
        look: impl Future<Output = Result<Option<T>, StoreError>>,
    ) -> Result<Option<T>, StoreError> {
        let Ok(Ok(_turn)) = tokio::time::timeout(PATIENCE, self.0.turns.acquire()).await else {
            return Err(StoreError::Unavailable(Unavailable::Busy));
        };
        let found = look.await?;
        if found.is_none() {
            let network = network_of(from);
            // Beyond the limit nothing is counted, and nothing is looked for either.
            let _ = self.0.unknown.count(network);
            if self.0.unknown.full(&network).is_some() {
                self.0.last_over.store(self.age() + 1, Ordering::Relaxed);
            }
        }
        Ok(found)
    }

    fn age(&self) -> u64 {
        millis(self.0.began.elapsed())
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
