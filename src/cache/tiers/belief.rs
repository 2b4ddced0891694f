//! How far memory and Redis may be believed, from what has been heard and what could not be delivered.

use std::sync::atomic::Ordering;

use super::Tiers;
use crate::cache::{class::Class, redis::Redis};

/// Without a word from the channel for so long, this process no longer knows what the others do.
const DEAF_AFTER: u64 = 1_000;
/// Epochs older than this may have been ended by somebody.
const EPOCHS_STALE_AFTER: u64 = 2_000;
/// Four of another process's messages that Redis refuses writes.
const REFUSED_FOR: u64 = 1_000;
/// Between two lines about forged entries. Milliseconds.
const FORGERY_INTERVAL: u64 = 60_000;

impl Tiers {
    /// Whether the other processes can be heard.
    pub fn hears(&self) -> bool {
        self.hears_at(self.now())
    }

    /// Whether Redis is believed, so that what one process learns all know.
    pub fn shares(&self) -> bool {
        self.hears() && self.redis_for(Class::Session).is_some_and(Redis::is_whole)
    }

    fn hears_at(&self, now: u64) -> bool {
        let heard = self.0.heard.load(Ordering::Relaxed);
        heard != 0 && now.saturating_sub(heard) <= DEAF_AFTER
    }

    /// Whether what was stored at `stored` may be given out at `now`, as far as others' writes go.
    pub(in crate::cache) fn is_believed(&self, class: Class, stored: u64, now: u64) -> bool {
        !class.is_mutable()
            || (!self.is_overtaken(class, stored) && now.saturating_sub(stored) <= self.believed_for(class, now))
    }

    /// How long what is stored may be given out, in milliseconds, as far as others' writes go: without end while they can be heard.
    pub(in crate::cache) fn believed_for(&self, class: Class, now: u64) -> u64 {
        if class.is_mutable() && !self.hears_at(now) {
            self.0.local_ttl
        } else {
            u64::MAX
        }
    }

    /// Whether what was stored at `stored` will never be believed again.
    pub(in crate::cache) fn is_overtaken(&self, class: Class, stored: u64) -> bool {
        class.is_mutable() && stored < self.0.floor.load(Ordering::Relaxed)
    }

    /// Redis, if what it has of this class can be believed.
    pub(in crate::cache) fn redis_for(&self, class: Class) -> Option<&Redis> {
        let redis = self.0.redis.as_ref()?;
        let read = self.0.epochs_read.load(Ordering::Relaxed);
        let known = read != 0
            && (!class.is_mutable()
                || (!self.owes()
                    && !self.is_refused()
                    && self.unseen_connection().is_none()
                    && self.0.late.load(Ordering::Relaxed) == 0
                    && self.now().saturating_sub(read) <= EPOCHS_STALE_AFTER));
        known.then_some(redis)
    }

    pub(in crate::cache) fn note_heard(&self) {
        self.0.heard.store(self.now(), Ordering::Relaxed);
    }

    /// What was said before now has not been heard.
    pub(in crate::cache) fn raise_floor(&self) {
        self.0.floor.store(self.now(), Ordering::Relaxed);
    }

    /// Redis is not asked for what may have changed before it has been told to forget all of that.
    pub fn owe(&self) {
        if self.0.redis.is_some() {
            self.0.owing.store(true, Ordering::Relaxed);
        }
    }

    /// Whether an invalidation could not be delivered and still waits for Redis.
    pub fn owes(&self) -> bool {
        self.0.owing.load(Ordering::Relaxed)
    }

    pub(in crate::cache) fn owe_no_more(&self) {
        self.0.owing.store(false, Ordering::Relaxed);
    }

    /// Redis takes no writes, of this process or another: what it holds cannot be invalidated.
    pub(in crate::cache) fn is_refused(&self) -> bool {
        self.0.redis.as_ref().is_some_and(Redis::refuses_writes)
            || self.now() < self.0.refused_until.load(Ordering::Relaxed)
    }

    /// Another process says so. What memory has from Redis since then may be what that one could not remove.
    pub(in crate::cache) fn note_refused(&self) {
        let now = self.now();
        if self.0.refused_until.swap(now + REFUSED_FOR, Ordering::Relaxed) <= now {
            self.raise_floor();
        }
    }

    /// A connection on which it has not been seen yet which run of the server it leads to.
    pub(in crate::cache) fn unseen_connection(&self) -> Option<u64> {
        let number = self.0.redis.as_ref()?.connection_number()?;
        (self.0.server_seen.load(Ordering::Relaxed) != number).then_some(number)
    }

    pub(in crate::cache) fn note_server_seen(&self, connection: u64) {
        self.0.server_seen.store(connection, Ordering::Relaxed);
    }

    /// An alarm, at most once a minute; the metric counts each.
    pub(in crate::cache) fn tell_forgery(&self, class: Class) {
        let (now, told) = (self.now(), self.0.forgery_told.load(Ordering::Relaxed));
        let is_due = told == 0 || now.saturating_sub(told) >= FORGERY_INTERVAL;
        let mine = || {
            let swapped = self
                .0
                .forgery_told
                .compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed);
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
