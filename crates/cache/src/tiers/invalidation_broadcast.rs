//! Sends invalidations to Redis and to the other processes after a write.
//!
//! A separate task sends them, so that a caller that disconnects interrupts nothing and a hanging Redis costs the writer
//! little. This process does not read from Redis until the removal is confirmed; an undelivered invalidation stays pending.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::Tiers;
use crate::key::Key;

/// Broadcasts in flight at once. More pile up only while Redis does not answer, and then one pending invalidation covers all.
pub(super) const MAX_IN_FLIGHT: usize = 1_000;
/// A writer waits so long for the removal in Redis. While one removal is late, further writers do not wait.
const FORGET_TIMEOUT: Duration = Duration::from_millis(50);

impl Tiers {
    /// After a write: removes the keys from Redis and tells the other processes. This process has removed them already.
    pub(crate) async fn broadcast_invalidation(&self, keys: &[Key]) {
        let Some(redis) = self.redis().cloned() else { return };
        let pending = PendingInvalidation::new(self);
        let Ok(one) = Arc::clone(&self.0.broadcast_permits).try_acquire_owned() else {
            return;
        };
        let messages: Vec<_> = keys.iter().map(|key| self.message(key)).collect();
        let keys: Vec<_> = keys.iter().map(Key::redis_keys).collect();
        let (forgotten, wait) = oneshot::channel();
        let tiers = self.clone();
        self.tasks().spawn(async move {
            let _one = one;
            let mut removing = pin!(join_all(keys.iter().map(|keys| redis.remove(keys))));
            let timeout = if tiers.is_late() {
                Duration::ZERO
            } else {
                FORGET_TIMEOUT
            };
            let all_removed = |removed: Vec<Result<_, _>>| {
                let all = removed.iter().all(Result::is_ok);
                if !all {
                    tiers.mark_pending();
                }
                all
            };
            let removed = if let Ok(removed) = tokio::time::timeout(timeout, &mut removing).await {
                let removed = all_removed(removed);
                // The receiver is gone if the writer has disconnected.
                _ = forgotten.send(());
                removed
            } else {
                let _late = Late::new(&tiers);
                _ = forgotten.send(());
                all_removed(removing.await)
            };
            // Publish even then: other processes may reach Redis. First of all tell them not to trust it.
            if !removed && redis.refuses_writes() {
                _ = redis.publish(&[tiers.refusal_message()]).await;
            }
            if redis.publish(&messages).await.is_ok() && removed {
                pending.delivered();
            }
        });
        _ = wait.await;
    }

    /// That Redis refuses writes.
    pub(crate) fn refusal_message(&self) -> String {
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

/// Marks an invalidation as pending when dropped, unless it was delivered: no early return or cancelled task loses one.
struct PendingInvalidation(Option<Tiers>);

impl PendingInvalidation {
    fn new(tiers: &Tiers) -> Self {
        Self(Some(tiers.clone()))
    }

    fn delivered(mut self) {
        self.0 = None;
    }
}

impl Drop for PendingInvalidation {
    fn drop(&mut self) {
        if let Some(tiers) = &self.0 {
            tiers.mark_pending();
        }
    }
}

/// While it exists, mutable classes are not read from Redis.
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
