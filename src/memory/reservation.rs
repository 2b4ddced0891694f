//! What one holds of the budget, grown as it turns out to need more.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Budget, Exhausted, Holder, Member, SMALL, UNIT};

/// Bytes that are counted until it is dropped.
pub struct Reservation {
    budget: Budget,
    holder: Holder,
    bytes: usize,
    /// Once it is more than what is small.
    large: Option<Large>,
}

struct Large {
    share: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
    _member: Member,
}

impl Large {
    fn units(&self) -> usize {
        self.all.num_permits()
    }
}

impl Reservation {
    pub(super) fn new(budget: Budget, holder: Holder) -> Self {
        Self {
            budget,
            holder,
            bytes: 0,
            large: None,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts `bytes` in all, if that is more than before. Waits for room where it is large. An error leaves it as it was.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let outcome = if bytes <= SMALL {
            self.grow_small(bytes)
        } else {
            Box::pin(self.grow_large(bytes)).await
        };
        if outcome.is_err() {
            self.budget.0.refused.increment(1);
        }
        outcome
    }

    fn grow_small(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let shared = &self.budget.0;
        let more = bytes - self.bytes;
        if shared.small.fetch_add(more, Ordering::Relaxed) + more > shared.small_limit {
            shared.small.fetch_sub(more, Ordering::Relaxed);
            return Err(Exhausted);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Where it is given up in the middle, what was had before stays.
    async fn grow_large(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let budget = self.budget.clone();
        let (member, more) = self.more(bytes);
        let taking = async {
            let share = Arc::clone(&member.share).acquire_many_owned(more).await.ok()?;
            let all = Arc::clone(&budget.0.all).acquire_many_owned(more).await.ok()?;
            Some((share, all))
        };
        let taken = tokio::time::timeout(budget.0.timeout, taking).await;
        let (share, all) = taken.ok().flatten().ok_or(Exhausted)?;
        self.add(bytes, member, share, all);
        Ok(())
    }

    /// The same, but for who cannot wait; large from the first byte on.
    pub(super) fn grow_at_once(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let (member, more) = self.more(bytes);
        let share = Arc::clone(&member.share).try_acquire_many_owned(more);
        let all = Arc::clone(&self.budget.0.all).try_acquire_many_owned(more);
        let (Ok(share), Ok(all)) = (share, all) else {
            self.budget.0.refused.increment(1);
            return Err(Exhausted);
        };
        self.add(bytes, member, share, all);
        Ok(())
    }

    /// Of whose share `bytes` are, and how many units they are more than before.
    fn more(&self, bytes: usize) -> (Member, u32) {
        // What is more than there is in all gets all there is, alone, rather than never a turn.
        let wanted = bytes.div_ceil(UNIT).min(self.budget.share(self.holder));
        let had = self.large.as_ref().map_or(0, Large::units);
        let more = u32::try_from(wanted.saturating_sub(had)).unwrap_or(u32::MAX);
        (self.budget.join(self.holder), more)
    }

    fn add(&mut self, bytes: usize, member: Member, share: OwnedSemaphorePermit, all: OwnedSemaphorePermit) {
        let shared = &self.budget.0;
        shared.reserved.increment((all.num_permits() * UNIT) as f64);
        if let Some(large) = &mut self.large {
            large.share.merge(share);
            large.all.merge(all);
        } else {
            shared.small.fetch_sub(self.bytes, Ordering::Relaxed);
            self.large = Some(Large {
                share,
                all,
                _member: member,
            });
        }
        self.bytes = bytes;
    }

    /// Bytes that are counted for as long as anybody holds any of them. What is small is handed over as it is, and its count
    /// ends: those that are there at a time are bounded by the places in flight.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        if self.large.is_none() {
            return bytes;
        }
        Bytes::from_owner(Held {
            bytes,
            _reservation: self,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let shared = &self.budget.0;
        match self.large.take() {
            Some(large) => shared.reserved.decrement((large.units() * UNIT) as f64),
            None if self.bytes > 0 => _ = shared.small.fetch_sub(self.bytes, Ordering::Relaxed),
            None => {}
        }
    }
}

struct Held {
    bytes: Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
