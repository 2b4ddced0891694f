//! Decides whether entries in memory and in Redis are still valid, from the messages received and the invalidations that
//! could not be delivered.

use std::sync::atomic::Ordering;

use super::Tiers;
use crate::{class::Class, redis::Redis};

/// Without a message for so long, the channel counts as lost, and invalidations of other processes may be missed.
const SUBSCRIPTION_TIMEOUT: u64 = 1_000;
/// Epochs read longer ago may have been ended by another process.
const EPOCHS_STALE_AFTER: u64 = 2_000;
/// Four of another process's messages that Redis refuses writes.
const REFUSED_FOR: u64 = 1_000;
/// Between two lines about forged entries. Milliseconds.
const FORGERY_INTERVAL: u64 = 60_000;

impl Tiers {
    /// Whether this process receives the invalidations of the others.
    pub fn is_subscribed(&self) -> bool {
        self.is_subscribed_at(self.now())
    }

    /// Whether Redis is trusted and the channel is up, so that all processes see the same entries.
    pub fn is_coherent(&self) -> bool {
        self.is_subscribed() && self.redis_for(Class::Session).is_some_and(Redis::is_whole)
    }

    fn is_subscribed_at(&self, now: u64) -> bool {
        let last_message = self.0.last_message.load(Ordering::Relaxed);
        last_message != 0 && now.saturating_sub(last_message) <= SUBSCRIPTION_TIMEOUT
    }

    /// Whether an entry stored at `stored` may be served at `now`, as far as writes of other processes are concerned.
    pub(crate) fn is_valid(&self, class: Class, stored: u64, now: u64) -> bool {
        !class.is_mutable()
            || (!self.is_invalidated(class, stored) && now.saturating_sub(stored) <= self.valid_for(class, now))
    }

    /// How long an entry may be served, in milliseconds, as far as writes of other processes are concerned: without limit while
    /// the channel is up.
    pub(crate) fn valid_for(&self, class: Class, now: u64) -> u64 {
        if class.is_mutable() && !self.is_subscribed_at(now) {
            self.0.local_ttl
        } else {
            u64::MAX
        }
    }

    /// Whether an entry stored at `stored` has been invalidated for good.
    pub(crate) fn is_invalidated(&self, class: Class, stored: u64) -> bool {
        class.is_mutable() && stored < self.0.floor.load(Ordering::Relaxed)
    }

    /// Redis, if its entries of this class can be trusted.
    pub(crate) fn redis_for(&self, class: Class) -> Option<&Redis> {
        let redis = self.0.redis.as_ref()?;
        let read = self.0.epochs_read.load(Ordering::Relaxed);
        let is_usable = read != 0
            && (!class.is_mutable()
                || (!self.has_pending()
                    && !self.is_refused()
                    && self.unseen_connection().is_none()
                    && self.0.late.load(Ordering::Relaxed) == 0
                    && self.now().saturating_sub(read) <= EPOCHS_STALE_AFTER));
        is_usable.then_some(redis)
    }

    pub(crate) fn note_message(&self) {
        self.0.last_message.store(self.now(), Ordering::Relaxed);
    }

    /// Invalidates all mutable entries stored so far: invalidations up to now may have been missed.
    pub(crate) fn invalidate_all_stored(&self) {
        self.0.floor.store(self.now(), Ordering::Relaxed);
    }

    /// Records an undelivered invalidation. Mutable classes are not read from Redis until their epoch has been ended there.
    pub fn mark_pending(&self) {
        if self.0.redis.is_some() {
            self.0.pending.store(true, Ordering::Relaxed);
        }
    }

    /// Whether an invalidation could not be delivered and still waits for Redis.
    pub fn has_pending(&self) -> bool {
        self.0.pending.load(Ordering::Relaxed)
    }

    pub(crate) fn clear_pending(&self) {
        self.0.pending.store(false, Ordering::Relaxed);
    }

    /// Whether Redis refuses writes, of this process or another: its entries cannot be invalidated.
    pub(crate) fn is_refused(&self) -> bool {
        self.0.redis.as_ref().is_some_and(Redis::refuses_writes)
            || self.now() < self.0.refused_until.load(Ordering::Relaxed)
    }

    /// Another process reports that Redis refuses writes. Entries read from Redis since then may be ones it could not remove.
    pub(crate) fn note_refused(&self) {
        let now = self.now();
        if self.0.refused_until.swap(now + REFUSED_FOR, Ordering::Relaxed) <= now {
            self.invalidate_all_stored();
        }
    }

    /// The number of a connection for which the server's run id has not been checked yet.
    pub(crate) fn unseen_connection(&self) -> Option<u64> {
        let number = self.0.redis.as_ref()?.connection_number()?;
        (self.0.server_seen.load(Ordering::Relaxed) != number).then_some(number)
    }

    pub(crate) fn note_server_seen(&self, connection: u64) {
        self.0.server_seen.store(connection, Ordering::Relaxed);
    }

    /// Logs an alarm, at most once a minute; the metric counts every forged entry.
    pub(crate) fn log_forgery(&self, class: Class) {
        let (now, logged_at) = (self.now(), self.0.forgery_logged_at.load(Ordering::Relaxed));
        let is_due = logged_at == 0 || now.saturating_sub(logged_at) >= FORGERY_INTERVAL;
        let mine = || {
            let swapped =
                self.0
                    .forgery_logged_at
                    .compare_exchange(logged_at, now, Ordering::Relaxed, Ordering::Relaxed);
            swapped.is_ok()
        };
        if is_due && mine() {
            tracing::error!(
                target: "mapleai::security", event = "cache_entry_forged", class = class.as_str(),
                "an entry in Redis was not written there by this service; it is not used"
            );
        }
    }
}
