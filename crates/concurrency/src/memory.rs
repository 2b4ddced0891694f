//! Reserves memory for bodies and whole responses before they are read: within a budget of the process, and within a share of
//! it per organisation or, before authentication, per address.
//!
//! Small reservations cost one atomic. Large ones wait in order of arrival, for a short while, and are then refused: a waiting
//! request occupies a slot, and a body that is not read yet only occupies its sender.

mod reservation;
mod stream_buffer;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::Semaphore;
use uuid::Uuid;

pub use reservation::Reservation;
pub use stream_buffer::{StreamReservation, UNCOUNTED};
use telemetry::metrics::{MEMORY_RESERVED, REFUSALS};

/// Reservations up to this many bytes are counted together, and against no share.
pub const SMALL: usize = 32 * 1024;
/// Granularity of large reservations, in bytes.
const UNIT: usize = 1024;
/// All small reservations together may take this fraction of the budget, on top.
const SMALL_PART: usize = 4;
/// An organisation leaves this fraction of the budget to others.
const OTHERS_PART: usize = 4;
/// An address without an authenticated caller gets this fraction of the budget.
const ADDRESS_PART: usize = 8;

/// The budget had no room within the timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a body or answer of this size at the moment")]
pub struct Exhausted;

/// The holder whose share bytes are counted against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    Organization(Uuid),
    Address(IpAddr),
}

/// The memory budget of the process. Cheap to clone.
#[derive(Clone)]
pub struct Budget(Arc<BudgetInner>);

struct BudgetInner {
    units: usize,
    all: Arc<Semaphore>,
    small: AtomicUsize,
    small_limit: usize,
    timeout: Duration,
    /// Holders with large reservations or requests that wait for one, and the number of those.
    holders: Mutex<HashMap<Holder, (usize, Arc<Semaphore>)>>,
    reserved: Gauge,
    refused: Counter,
}

/// The budget as seen by one holder.
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
    /// `bytes` for the whole process; `timeout` limits the wait for room.
    pub fn new(bytes: usize, timeout: Duration) -> Self {
        let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(BudgetInner {
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
            Holder::Organization(_) => units - units / OTHERS_PART,
            Holder::Address(_) => units / ADDRESS_PART,
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

    /// An empty reservation, to be grown. Costs nothing.
    pub fn reserve(&self) -> Reservation {
        Reservation::new(self.budget.clone(), self.holder)
    }
}

/// A request that holds or waits; the last one of a holder removes its entry.
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
