//! Counting failed sign-ins, per account and per address, so that passwords cannot be guessed at speed; and registrations per
//! address, so that those who come in do not have to queue behind them.
//!
//! Counts live in the process: an attacker spread over n processes has n times the tries, which argon2 and the address
//! limit still keep far below a useful rate. An attempt is counted before its password is checked and given back if it
//! was right, so that simultaneous guesses do not slip through together.

use std::{
    hash::Hash,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::{Counter, counter};
use moka::sync::Cache;

use crate::telemetry::metrics::REFUSALS;

/// Accounts and addresses remembered; beyond that the least recently seen are forgotten.
const CAPACITY: u64 = 100_000;

/// Too many attempts; the next is accepted after `retry_after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts; try again in {} s", retry_after.as_secs().max(1))]
pub struct Throttled {
    pub retry_after: Duration,
}

pub(super) struct Window {
    opened: Instant,
    attempts: AtomicU32,
}

/// A bound on something in a span of time, for each key.
#[derive(Clone)]
pub(super) struct Limit<K> {
    windows: Cache<K, Arc<Window>>,
    most: u32,
    length: Duration,
}

impl<K: Hash + Eq + Send + Sync + 'static> Limit<K> {
    pub(super) fn new(most: u32, length: Duration) -> Self {
        Self {
            windows: Cache::builder().max_capacity(CAPACITY).time_to_live(length).build(),
            most,
            length,
        }
    }

    pub(super) fn count(&self, key: K) -> Result<Arc<Window>, Throttled> {
        let fresh = || {
            Arc::new(Window {
                opened: Instant::now(),
                attempts: AtomicU32::new(0),
            })
        };
        let window = self.windows.get_with(key, fresh);
        if window.attempts.fetch_add(1, Ordering::Relaxed) < self.most {
            return Ok(window);
        }
        window.attempts.fetch_sub(1, Ordering::Relaxed);
        Err(self.until_over(&window))
    }

    /// Whether the next would be refused, without counting it.
    pub(super) fn full(&self, key: &K) -> Option<Throttled> {
        let window = self.windows.get(key)?;
        (window.attempts.load(Ordering::Relaxed) >= self.most).then(|| self.until_over(&window))
    }

    fn until_over(&self, window: &Window) -> Throttled {
        Throttled {
            retry_after: self
                .length
                .saturating_sub(window.opened.elapsed())
                .max(Duration::from_secs(1)),
        }
    }
}

/// The sign-in throttle of one process.
#[derive(Clone)]
pub struct Throttle {
    accounts: Limit<String>,
    addresses: Limit<IpAddr>,
    /// Apart from sign-ins: an office that registers must not be kept from signing in, nor the other way about.
    registrations: Limit<IpAddr>,
    refused: Counter,
}

/// An attempt that has been counted. Forgive it if it turns out to be the real owner.
pub struct Attempt(Vec<Arc<Window>>);

impl Attempt {
    pub fn forgive(self) {
        for window in self.0 {
            window.attempts.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Throttle {
    pub fn new(per_account: u32, per_address: u32, window: Duration) -> Self {
        Self {
            accounts: Limit::new(per_account, window),
            addresses: Limit::new(per_address, window),
            registrations: Limit::new(per_address, window),
            refused: counter!(REFUSALS, "reason" => "throttled"),
        }
    }

    /// Counts one attempt on `account` (folded) from `address`.
    pub fn attempt(&self, account: &str, address: IpAddr) -> Result<Attempt, Throttled> {
        let count = || {
            let by_address = self.addresses.count(network_of(address))?;
            let by_account = self.accounts.count(account.to_owned())?;
            Ok(Attempt(vec![by_address, by_account]))
        };
        count().inspect_err(|_| self.refused.increment(1))
    }

    /// Counts one registration from `address`, whatever becomes of it.
    pub fn registration(&self, address: IpAddr) -> Result<(), Throttled> {
        let counted = self.registrations.count(network_of(address));
        counted.map(|_| ()).inspect_err(|_| self.refused.increment(1))
    }
}

/// One IPv6 customer holds a whole /64, so the lower half says nothing about who it is.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::Throttle;
    use std::time::Duration;

    #[test]
    fn counts_failures_per_account_and_address() {
        let throttle = Throttle::new(2, 3, Duration::from_mins(1));
        let here = "192.0.2.1".parse().unwrap();
        let there = "192.0.2.2".parse().unwrap();
        throttle.attempt("a", here).unwrap().forgive();
        throttle.attempt("a", here).unwrap();
        throttle.attempt("a", here).unwrap();
        let refused = throttle.attempt("a", there).err().unwrap();
        assert!(refused.retry_after > Duration::from_secs(50));
        throttle.attempt("b", here).unwrap();
        assert!(throttle.attempt("b", there).is_ok());
        assert!(
            throttle.attempt("c", here).is_err(),
            "the address has used up its three"
        );
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let throttle = Throttle::new(10, 1, Duration::from_mins(1));
        throttle.attempt("a", "2001:db8::1".parse().unwrap()).unwrap();
        assert!(throttle.attempt("b", "2001:db8::2".parse().unwrap()).is_err());
        assert!(throttle.attempt("c", "2001:db8:0:1::1".parse().unwrap()).is_ok());
    }
}
