//! Counts that all instances share, where there is a Redis. They are a help and no authority: without an answer each instance
//! goes by its own.

use std::time::Duration;

use super::redis::Redis;

/// What is counted: a name that is already a hash, so that nobody reads addresses out of Redis.
pub type CountName = [u8; 32];

/// Attempts of all instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedCount {
    /// With this one; 0 where it was not counted.
    pub attempts: u32,
    /// Until the next may be tried, where this one was not counted.
    pub wait: Duration,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct SharedCounts(Option<Redis>);

impl SharedCounts {
    pub fn new(redis: Option<Redis>) -> Self {
        Self(redis)
    }

    /// Counts an attempt; `None` if Redis cannot be asked. Beyond `max` in a `window` each costs a wait, which begins with
    /// `first_wait` and doubles.
    pub async fn count(
        &self,
        name: &CountName,
        max: u32,
        window: Duration,
        first_wait: Duration,
    ) -> Option<SharedCount> {
        let redis = self.0.as_ref()?;
        let (attempts, wait) = redis
            .count_attempt(&hex::encode(name), max, window, first_wait)
            .await
            .ok()?;
        Some(SharedCount { attempts, wait })
    }

    /// Takes an attempt back. If Redis is away the count ends with its window.
    pub async fn uncount(&self, name: &CountName) {
        if let Some(redis) = &self.0
            && let Err(error) = redis.uncount_attempt(&hex::encode(name)).await
        {
            tracing::debug!(target: "mapleai::cache", error = &error as &dyn std::error::Error, "an attempt could not be taken back");
        }
    }
}
