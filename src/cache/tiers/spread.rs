//! Telling Redis and the other processes what a write made wrong.
//!
//! A task of its own does it, so that a caller who goes away cuts nothing off, and a Redis that hangs costs the writer little.
//! Until it is known that Redis has forgotten, this process does not ask it; what could not be delivered is owed.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::Tiers;
use crate::cache::key::Key;

/// Under way at once. More than these pile up only where nobody answers, and one debt stands for all the others.
pub(super) const MAX_IN_FLIGHT: usize = 1_000;
/// What a writer waits for Redis to forget. Whoever writes after one that waited in vain does not wait.
const FORGET_TIMEOUT: Duration = Duration::from_millis(50);

impl Tiers {
    /// After a write: Redis forgets the keys and the other processes are told. This one has forgotten them already.
    pub(in crate::cache) async fn spread(&self, keys: &[Key]) {
        let Some(redis) = self.redis().cloned() else { return };
        let debt = Debt::new(self);
        let Ok(one) = Arc::clone(&self.0.spreading).try_acquire_owned() else {
            return;
        };
        let places: Vec<_> = keys.iter().map(Key::place).collect();
        let messages: Vec<_> = keys.iter().map(|key| self.message(key)).collect();
        let (forgotten, wait) = oneshot::channel();
        let tiers = self.clone();
        self.tasks().spawn(async move {
            let _one = one;
            let mut removing = pin!(join_all(places.iter().map(|place| redis.remove(place))));
            let timeout = if tiers.is_late() {
                Duration::ZERO
            } else {
                FORGET_TIMEOUT
            };
            let all_removed = |removed: Vec<Result<_, _>>| {
                let all = removed.iter().all(Result::is_ok);
                if !all {
                    tiers.owe();
                }
                all
            };
            let removed = if let Ok(removed) = tokio::time::timeout(timeout, &mut removing).await {
                let removed = all_removed(removed);
                // Nobody waits any more if the writer has left.
                _ = forgotten.send(());
                removed
            } else {
                let _late = Late::new(&tiers);
                _ = forgotten.send(());
                all_removed(removing.await)
            };
            // Others are told even then: they may reach what this process does not. And not to believe it, before all else.
            if !removed && redis.refuses_writes() {
                _ = redis.publish(&[tiers.refusal_message()]).await;
            }
            if redis.publish(&messages).await.is_ok() && removed {
                debt.settle();
            }
        });
        _ = wait.await;
    }

    /// That Redis refuses writes.
    pub(in crate::cache) fn refusal_message(&self) -> String {
        format!("{:x} c", self.instance())
    }

    fn message(&self, key: &Key) -> String {
        let (instance, class) = (self.instance(), key.class().as_str());
        format!("{instance:x} k {class} {}", hex::encode(key.hash()))
    }

    fn is_late(&self) -> bool {
        self.0.late.load(Ordering::Relaxed) > 0
    }
}

/// Owed, unless it is settled: whatever ends a delivery, nothing is lost without a trace.
struct Debt(Option<Tiers>);

impl Debt {
    fn new(tiers: &Tiers) -> Self {
        Self(Some(tiers.clone()))
    }

    fn settle(mut self) {
        self.0 = None;
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        if let Some(tiers) = &self.0 {
            tiers.owe();
        }
    }
}

/// As long as it lives Redis is not believed.
struct Late(Tiers);

impl Late {
    fn new(tiers: &Tiers) -> Self {
        tiers.0.late.fetch_add(1, Ordering::Relaxed);
        Self(tiers.clone())
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.0.0.late.fetch_sub(1, Ordering::Relaxed);
    }
}
