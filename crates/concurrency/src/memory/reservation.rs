//! A reservation from the budget, grown as more is needed.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Budget, Exhausted, Holder, Member, SMALL, UNIT};

/// Reserved bytes, released on drop.
pub struct Reservation {
    budget: Budget,
    holder: Holder,
    bytes: usize,
    /// Set once it exceeds [`SMALL`].
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

    /// Grows to `bytes` in total. Waits for room if that is large. An error leaves it unchanged.
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
        let inner = &self.budget.0;
        let more = bytes - self.bytes;
        if inner.small.fetch_add(more, Ordering::Relaxed) + more > inner.small_limit {
            inner.small.fetch_sub(more, Ordering::Relaxed);
            return Err(Exhausted);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Cancelling leaves the reservation unchanged.
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

    /// The same without waiting; counted as large from the first byte on.
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

    /// The member whose share is charged, and the number of additional units.
    fn more(&self, bytes: usize) -> (Member, u32) {
        // A request larger than the whole share gets the whole share rather than none.
        let wanted = bytes.div_ceil(UNIT).min(self.budget.share(self.holder));
        let had = self.large.as_ref().map_or(0, Large::units);
        let more = u32::try_from(wanted.saturating_sub(had)).unwrap_or(u32::MAX);
        (self.budget.join(self.holder), more)
    }

    fn add(&mut self, bytes: usize, member: Member, share: OwnedSemaphorePermit, all: OwnedSemaphorePermit) {
        let inner = &self.budget.0;
        inner.reserved.increment((all.num_permits() * UNIT) as f64);
        if let Some(large) = &mut self.large {
            large.share.merge(share);
            large.all.merge(all);
        } else {
            inner.small.fetch_sub(self.bytes, Ordering::Relaxed);
            self.large = Some(Large {
                share,
                all,
                _member: member,
            });
        }
        self.bytes = bytes;
    }

    /// Bytes that stay counted until the last clone is dropped. Small ones are returned as they are, uncounted: their number is
    /// bounded by the requests in flight.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        if self.large.is_none() {
            return bytes;
        }
        Bytes::from_owner(CountedBytes {
            bytes,
            _reservation: self,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let inner = &self.budget.0;
        match self.large.take() {
            Some(large) => inner.reserved.decrement((large.units() * UNIT) as f64),
            None if self.bytes > 0 => _ = inner.small.fetch_sub(self.bytes, Ordering::Relaxed),
            None => {}
        }
    }
}

struct CountedBytes {
    bytes: Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
