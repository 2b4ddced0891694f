//! Bytes of bodies and whole answers, counted before they are read: against what the process may take, and a share of it for
//! one organisation or, before anybody is known, one address.
//!
//! What is small is counted by one atomic. What is large waits in order of arrival, for a short while, and is then refused:
//! a reader who is made to wait costs a place, and a body that nobody reads yet costs its sender.

mod gathering;
mod reservation;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::telemetry::metrics::{MEMORY_RESERVED, REFUSALS};
pub use gathering::{Gathering, UNCOUNTED};
pub use reservation::Reservation;

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
    timeout: Duration,
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
    /// `bytes` for all together; `timeout` is the longest that one waits for room.
    pub fn new(bytes: usize, timeout: Duration) -> Self {
        let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            units,
            all: Arc::new(Semaphore::new(units)),
            small: AtomicUsize::new(0),
            small_limit: bytes / SMALL_PART,
            timeout,
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
        Reservation::new(self.budget.clone(), self.holder)
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
