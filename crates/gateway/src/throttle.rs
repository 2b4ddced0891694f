//! How fast passwords may be guessed at and accounts be made: counted for who does it, so that nobody is kept out by others.
//!
//! Wrong passwords are counted by account and network together, and by network: beyond a number each further try costs a wait
//! that doubles. The owner, who comes from elsewhere, is not in those counts. Guesses at one account from everywhere are counted
//! too, and slow down who is not known by a device that has signed in before; they refuse nobody. An attempt is counted before
//! its password is checked and taken back if it was right, so that simultaneous guesses do not slip through together.
//!
//! Instances share their counts by Redis, where there is one that answers; each one's own hold in any case.

mod limit;
mod rule;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use metrics::{Counter, counter};
use moka::sync::Cache;
use tokio::sync::Semaphore;

use cache::counts::{CountName, SharedCount, SharedCounts};
use crypto::device::Device;
pub use limit::Limit;
use rule::{Kind, Rule, by_network};
use telemetry::metrics::REFUSALS;

/// Of all guesses at one account, so many times what one network has.
const FROM_EVERYWHERE: u32 = 10;
/// The shortest and longest that an attempt on an account under attack is held up.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(8);
/// Attempts on one account that are held up at a time; they cost a connection each, and bound the guesses of many networks.
const MAX_DELAYED: usize = 20;
/// Accounts under attack that are remembered.
const CAPACITY: u64 = 10_000;
/// What good sign-ins are counted in.
const MINUTE: Duration = Duration::from_mins(1);

/// Too many attempts; the next is accepted after `retry_after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts; try again in {} s", retry_after.as_secs().max(1))]
pub struct Throttled {
    pub retry_after: Duration,
}

/// How often what may be tried, from `[auth]`.
#[derive(Debug, Clone, Copy)]
pub struct ThrottleRules {
    /// Wrong passwords for one account from one network within `window`.
    pub per_account: u32,
    /// Wrong passwords, and apart from them registrations, from one network within `window`.
    pub per_address: u32,
    pub window: Duration,
    /// Sign-ins from one network in a minute, good ones included.
    pub sign_ins: u32,
}

/// The origin of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    pub address: IpAddr,
    /// A device on which somebody has signed in by this address before, if it has proven that.
    pub device: Option<Device>,
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self { address, device: None }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Throttle(Arc<ThrottleInner>);

struct ThrottleInner {
    rules: ThrottleRules,
    limits: [Limit; 5],
    shared: SharedCounts,
    delayed: Cache<CountName, Arc<Semaphore>>,
    refused: Counter,
}

/// An attempt that has been counted. Refund it if it turns out to be the real owner.
pub struct Attempt {
    throttle: Throttle,
    counted: Vec<Rule>,
    device: Option<Device>,
}

impl Attempt {
    /// The device that it was counted by, and by nothing else.
    pub fn device(&self) -> Option<Device> {
        self.device
    }

    pub async fn refund(self) {
        let wrong_guesses = self.counted.into_iter().filter(|rule| rule.kind != Kind::SignIns);
        self.throttle.take_back(wrong_guesses.collect()).await;
    }
}

impl Throttle {
    pub fn new(rules: ThrottleRules, shared: SharedCounts) -> Self {
        let limits = [rules.window, rules.window, rules.window, MINUTE, rules.window].map(Limit::new);
        Self(Arc::new(ThrottleInner {
            rules,
            limits,
            shared,
            delayed: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_idle(rules.window)
                .build(),
            refused: counter!(REFUSALS, "reason" => "throttled"),
        }))
    }

    /// Counts one attempt on `account` (folded). Waits where the account is under attack from everywhere.
    pub async fn attempt(&self, account: &str, origin: Origin) -> Result<Attempt, Throttled> {
        let counting = async {
            let (rules, everywhere) = self.sign_in_rules(account, origin);
            let mut attempt = self.count(rules).await?;
            let Some(everywhere) = everywhere else {
                attempt.device = origin.device;
                return Ok(attempt);
            };
            let name = everywhere.name;
            let (delay, rule) = self.count_softly(everywhere).await;
            attempt.counted.push(rule);
            if let Some(delay) = delay
                && let Err(throttled) = self.hold_up(name, delay).await
            {
                attempt.refund().await;
                return Err(throttled);
            }
            Ok(attempt)
        };
        counting.await.inspect_err(|_| self.0.refused.increment(1))
    }

    /// Counts one registration from `address`, whatever becomes of it.
    pub async fn registration(&self, address: IpAddr) -> Result<(), Throttled> {
        let per_address = self.0.rules.per_address;
        let rules = by_network(Kind::Registrations, &[], address, per_address);
        let counted = self.count(rules).await;
        counted.map(|_| ()).inspect_err(|_| self.0.refused.increment(1))
    }

    /// What refuses an attempt, and what only slows it down. Who signs in on a known device is counted by that alone, and by all
    /// known devices of the person: each sign-in makes another, and whoever knew a password could keep as many as they liked.
    fn sign_in_rules(&self, account: &str, origin: Origin) -> (Vec<Rule>, Option<Rule>) {
        let rules = &self.0.rules;
        let account = account.as_bytes();
        if let Some(device) = origin.device {
            let own = [account, b"device", &device.id];
            let person = [account, b"devices", &device.user];
            let all = rules.per_account.saturating_mul(FROM_EVERYWHERE);
            let counted = vec![
                Rule::new(Kind::AccountFrom, &own, rules.per_account),
                Rule::new(Kind::AccountFrom, &person, all),
                Rule::new(Kind::SignIns, &person, rules.sign_ins),
            ];
            let now = Instant::now();
            let is_reached = |rule: &Rule| self.limit(rule.kind).is_reached(&rule.name, rule.max, now);
            if !counted.iter().any(is_reached) {
                return (counted, None);
            }
        }
        let mut refusing = by_network(Kind::SignIns, &[], origin.address, rules.sign_ins);
        refusing.extend(by_network(Kind::Network, &[], origin.address, rules.per_address));
        refusing.extend(by_network(
            Kind::AccountFrom,
            &[account],
            origin.address,
            rules.per_account,
        ));
        let everywhere = rules.per_account.saturating_mul(FROM_EVERYWHERE);
        (refusing, Some(Rule::new(Kind::Account, &[account], everywhere)))
    }

    fn limit(&self, kind: Kind) -> &Limit {
        &self.0.limits[kind as usize]
    }

    /// Counts by all rules or, if one refuses, by none.
    async fn count(&self, rules: Vec<Rule>) -> Result<Attempt, Throttled> {
        let now = Instant::now();
        for (done, rule) in rules.iter().enumerate() {
            if let Err(wait) = self.limit(rule.kind).count(rule.name, rule.max, now) {
                for rule in &rules[..done] {
                    self.limit(rule.kind).uncount(&rule.name);
                }
                return Err(throttled(wait));
            }
        }
        let shared = join_all(rules.iter().map(|rule| self.count_shared(rule))).await;
        let wait = shared
            .iter()
            .flatten()
            .map(|count| count.wait)
            .max()
            .unwrap_or_default();
        if wait.is_zero() {
            return Ok(Attempt {
                throttle: self.clone(),
                counted: rules,
                device: None,
            });
        }
        for rule in &rules {
            self.limit(rule.kind).uncount(&rule.name);
        }
        let counted = rules
            .iter()
            .zip(&shared)
            .filter(|(_, shared)| shared.is_some_and(|count| count.attempts > 0));
        join_all(counted.map(|(rule, _)| self.0.shared.uncount(&rule.name))).await;
        Err(throttled(wait))
    }

    /// Counts what never refuses, and gives how long to hold the attempt up, if at all.
    async fn count_softly(&self, rule: Rule) -> (Option<Duration>, Rule) {
        // Nothing waits for this many: only the number is wanted.
        let unlimited = Rule { max: u32::MAX, ..rule };
        let local = self
            .limit(unlimited.kind)
            .count(unlimited.name, unlimited.max, Instant::now());
        let shared = self.count_shared(&unlimited).await.map_or(0, |count| count.attempts);
        let attempts = local.unwrap_or_default().max(shared);
        let delay = attempts.checked_sub(rule.max + 1).map(|over| {
            let doublings = (over / rule.max.max(1)).min(10);
            FIRST_DELAY.saturating_mul(1 << doublings).min(MAX_DELAY)
        });
        (delay, unlimited)
    }

    /// Holds an attempt up. Only where very many are held up for the account is it refused, and told when to come again.
    async fn hold_up(&self, account: CountName, delay: Duration) -> Result<(), Throttled> {
        let places = self
            .0
            .delayed
            .get_with(account, || Arc::new(Semaphore::new(MAX_DELAYED)));
        let Ok(_place) = places.try_acquire() else {
            return Err(throttled(delay));
        };
        tokio::time::sleep(delay).await;
        Ok(())
    }

    async fn count_shared(&self, rule: &Rule) -> Option<SharedCount> {
        let limit = self.limit(rule.kind);
        let shared = &self.0.shared;
        shared
            .count(&rule.name, rule.max, limit.window(), limit.first_wait())
            .await
    }

    async fn take_back(&self, rules: Vec<Rule>) {
        for rule in &rules {
            self.limit(rule.kind).uncount(&rule.name);
        }
        join_all(rules.iter().map(|rule| self.0.shared.uncount(&rule.name))).await;
    }
}

fn throttled(wait: Duration) -> Throttled {
    Throttled {
        retry_after: wait.max(Duration::from_secs(1)),
    }
}

#[cfg(test)]
mod tests;
