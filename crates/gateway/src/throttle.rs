//! Limits password guesses and registrations. Attempts are counted by their origin, so that an attacker cannot lock others
//! out.
//!
//! Wrong passwords are counted by account and network together, and by network: beyond a limit each further attempt has to
//! wait, twice as long each time. The owner, from another network, is not affected. Guesses at one account from all
//! networks are counted too; they only delay attempts from unknown devices and refuse none. An attempt is counted before
//! its password is checked and refunded if it was right, so that simultaneous guesses cannot slip through together.
//!
//! Instances share their counts through Redis while it answers; each instance's own counts hold in any case.

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

/// Limit on guesses at one account from all networks, as a multiple of one network's limit.
const FROM_EVERYWHERE: u32 = 10;
/// Shortest and longest delay of an attempt on an account under attack.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(8);
/// Delayed attempts per account at a time. Each costs a connection, and the limit bounds guesses from many networks.
const MAX_DELAYED: usize = 20;
/// Accounts under attack that are tracked at a time.
const CAPACITY: u64 = 10_000;
/// Window in which sign-ins are counted.
const MINUTE: Duration = Duration::from_mins(1);

/// Too many attempts; the next is accepted after `retry_after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts; try again in {} s", retry_after.as_secs().max(1))]
pub struct Throttled {
    pub retry_after: Duration,
}

/// Limits on attempts, from `[auth]`.
#[derive(Debug, Clone, Copy)]
pub struct ThrottleRules {
    /// Wrong passwords for one account from one network within `window`.
    pub per_account: u32,
    /// Wrong passwords, and separately registrations, from one network within `window`.
    pub per_address: u32,
    pub window: Duration,
    /// Sign-ins from one network in a minute, successful ones included.
    pub sign_ins: u32,
}

/// The origin of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    pub address: IpAddr,
    /// A device that has proven an earlier sign-in at this address.
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
    /// The device, if the attempt was counted by it alone.
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

    /// Counts one attempt on `account` (folded). Delays it if the account is under attack from many networks.
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

    /// Counts one registration from `address`, whether it succeeds or not.
    pub async fn registration(&self, address: IpAddr) -> Result<(), Throttled> {
        let per_address = self.0.rules.per_address;
        let rules = by_network(Kind::Registrations, &[], address, per_address);
        let counted = self.count(rules).await;
        counted.map(|_| ()).inspect_err(|_| self.0.refused.increment(1))
    }

    /// The rules that refuse an attempt, and the rule that only delays it. A sign-in on a known device counts by that
    /// device and by all known devices of the person: each sign-in adds a device, so anyone who knew a password could keep
    /// any number of them.
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

    /// Counts by a rule that never refuses, and returns the delay of the attempt, if any.
    async fn count_softly(&self, rule: Rule) -> (Option<Duration>, Rule) {
        // The limit is out of reach, since only the count is needed.
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

    /// Delays an attempt. Refuses it, with a time to come back, only if very many are delayed for the account.
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
