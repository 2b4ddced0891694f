//! Bytes of bodies and whole answers, counted before they are read: against what the process may take, and a share of it for
//! one organisation or, before anybody is known, one address.
//!
//! What is small is counted by one atomic. What is large waits in order of arrival, for a short while, and is then refused:
//! a reader who is made to wait costs a place, and a body that nobody reads yet costs its sender.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::telemetry::metrics::{MEMORY_RESERVED, REFUSALS};

/// Up to this many bytes are counted together, and by nobody's share.
pub const SMALL: usize = 32 * 1024;
/// What a large body is counted in, in bytes.
const UNIT: usize = 1024;
/// All small ones together may take one part in so many, on top.
const SMALL_PART: usize = 4;
/// An organisation leaves one part in so many to others.
const LEFT_TO_OTHERS: usize = 4;
/// An address whose caller is not known yet has one part in so many.
const STRANGERS_PART: usize = 8;

/// There is no room, and there was none within the time that one may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a body or answer of this size at the moment")]
pub struct Exhausted;

/// By whom bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    Organization(Uuid),
    Address(IpAddr),
}

/// What the process may hold. Cheap to clone.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    units: usize,
    all: Arc<Semaphore>,
    small: AtomicUsize,
    small_limit: usize,
    patience: Duration,
    /// Only those who hold something large or wait for it, with how many of them there are.
    holders: Mutex<HashMap<Holder, (usize, Arc<Semaphore>)>>,
    reserved: Gauge,
    refused: Counter,
}

/// The budget as one holder has it.
#[derive(Clone)]
pub struct Allowance {
    budget: Budget,
    holder: Holder,
}

impl std::fmt::Debug for Allowance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Allowance").field(&self.holder).finish()
    }
}

impl Budget {
    /// `bytes` for all together; `patience` is the longest that one waits for room.
    pub fn new(bytes: usize, patience: Duration) -> Self {
        let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            units,
            all: Arc::new(Semaphore::new(units)),
            small: AtomicUsize::new(0),
            small_limit: bytes / SMALL_PART,
            patience,
            holders: Mutex::default(),
            reserved: gauge!(MEMORY_RESERVED),
            refused: counter!(REFUSALS, "reason" => "memory"),
        }))
    }

    pub fn of(&self, holder: Holder) -> Allowance {
        Allowance {
            budget: self.clone(),
            holder,
        }
    }

    fn share(&self, holder: Holder) -> usize {
        let units = self.0.units;
        match holder {
            Holder::Organization(_) => units - units / LEFT_TO_OTHERS,
            Holder::Address(_) => units / STRANGERS_PART,
        }
        .max(1)
    }

    fn join(&self, holder: Holder) -> Member {
        let mut holders = self.0.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || (0, Arc::new(Semaphore::new(self.share(holder))));
        let (members, share) = holders.entry(holder).or_insert_with(made);
        *members += 1;
        Member {
            budget: self.clone(),
            holder,
            share: Arc::clone(share),
        }
    }
}

impl Allowance {
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    pub fn holder(&self) -> Holder {
        self.holder
    }

    /// Nothing yet; to be grown. Costs nothing.
    pub fn reserve(&self) -> Reservation {
        Reservation {
            budget: self.budget.clone(),
            holder: self.holder,
            bytes: 0,
            large: None,
        }
    }
}

/// Bytes that are counted until it is dropped.
pub struct Reservation {
    budget: Budget,
    holder: Holder,
    bytes: usize,
    /// Once it is more than what is small.
    large: Option<Large>,
}

struct Large {
    units: usize,
    share: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
    member: Member,
}

impl Reservation {
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
        let joined = self.large.is_none().then(|| budget.join(self.holder));
        let member = joined.as_ref().or(self.large.as_ref().map(|large| &large.member));
        let Some(share) = member.map(|member| Arc::clone(&member.share)) else {
            return Err(Exhausted);
        };
        // What is more than there is in all gets all there is, alone, rather than never a turn.
        let wanted = bytes.div_ceil(UNIT).min(budget.share(self.holder));
        let had = self.large.as_ref().map_or(0, |large| large.units);
        let more = u32::try_from(wanted.saturating_sub(had)).unwrap_or(u32::MAX);
        let taking = async {
            let share = share.acquire_many_owned(more).await.ok()?;
            let all = Arc::clone(&budget.0.all).acquire_many_owned(more).await.ok()?;
            Some((share, all))
        };
        let taken = tokio::time::timeout(budget.0.patience, taking).await;
        let (share, all) = taken.ok().flatten().ok_or(Exhausted)?;
        budget.0.reserved.increment(f64::from(more) * UNIT as f64);
        if let Some(member) = joined {
            budget.0.small.fetch_sub(self.bytes, Ordering::Relaxed);
            self.large = Some(Large {
                units: wanted,
                share,
                all,
                member,
            });
        } else if let Some(large) = &mut self.large {
            large.units = wanted;
            large.share.merge(share);
            large.all.merge(all);
        }
        self.bytes = bytes;
        Ok(())
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
            Some(large) => shared.reserved.decrement((large.units * UNIT) as f64),
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

/// One who holds or waits; the last one's holder is forgotten.
struct Member {
    budget: Budget,
    holder: Holder,
    share: Arc<Semaphore>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut holders = self.budget.0.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((members, _)) = holders.get_mut(&self.holder) {
            *members -= 1;
            if *members == 0 {
                holders.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests;
