//! Limits lookups of unknown credentials: keys, cookies, refresh tokens, invitations. Each unknown one costs a lookup in Redis
//! and in the database, and an attacker can make up any number.
//!
//! Lookups are therefore bounded in total, and networks are served in rotation. A network that has presented too many unknown
//! credentials is not refused, since valid ones may come from there as well: its lookups run one at a time and at a fixed pace,
//! within a share of their own. Guessing is slow then, and valid credentials get through.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::{Counter, counter};

use cache::counts::CountName;
use concurrency::fair_queue::{self, FairQueue};
use domain::network::Network;
use gateway::throttle::Limit;
use store::{StoreError, error::Unavailable};
use telemetry::metrics::REFUSALS;

/// Lookups at a time: few enough to leave the pool to others, and at a millisecond each, thousands a second.
const MAX_LOOKUPS: usize = 5;
/// Waiting time for a lookup permit, the same as for a connection.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(500);
/// Lookups at a time for networks that have presented too many unknown credentials.
const MAX_SUSPECT_LOOKUPS: usize = 1;
/// Suspects may wait longer, since waiting is what slows them down.
const SUSPECT_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// After a failed lookup a suspect's permit is held for this long, which bounds them to a hundred lookups a second.
const PACE: Duration = Duration::from_millis(10);
/// Requests that wait for a lookup. Beyond that, requests of the network with the most waiting requests are refused.
const MAX_WAITING: usize = 512;

/// Cheap to clone.
#[derive(Clone)]
pub struct UnknownCredentials(Arc<UnknownCredentialsInner>);

struct UnknownCredentialsInner {
    unknown: Limit,
    /// Unknown credentials that a network may present in a window before it is a suspect.
    max: u32,
    window: Duration,
    began: Instant,
    /// Milliseconds after `began` when a network was last found to be a suspect, and one more. 0: none ever was, and
    /// the hot path looks no further.
    last_suspect: AtomicU64,
    lookups: FairQueue<Network>,
    suspect_lookups: FairQueue<Network>,
    refused: Counter,
}

/// A suspect's permit, empty for other callers. Held during the lookup in Redis and in the database.
pub struct LookupPermit {
    _permit: Option<fair_queue::QueuePermit<Network>>,
}

impl UnknownCredentials {
    pub fn new(max: u32, window: Duration) -> Self {
        Self(Arc::new(UnknownCredentialsInner {
            unknown: Limit::new(window),
            max,
            window,
            began: Instant::now(),
            last_suspect: AtomicU64::new(0),
            lookups: FairQueue::new(MAX_LOOKUPS, MAX_WAITING),
            suspect_lookups: FairQueue::new(MAX_SUSPECT_LOOKUPS, MAX_WAITING),
            refused: counter!(REFUSALS, "reason" => "unknown_keys"),
        }))
    }

    /// Whether this address has presented too many unknown credentials.
    pub fn is_suspect(&self, from: IpAddr) -> bool {
        let last = self.0.last_suspect.load(Ordering::Relaxed);
        if last == 0 || self.age().saturating_sub(last) > millis(self.0.window) {
            return false;
        }
        self.is_over(from, Instant::now())
    }

    /// Called before a credential that is not in memory is looked up: a suspect waits here.
    pub async fn admit_lookup(&self, from: IpAddr) -> Result<LookupPermit, StoreError> {
        if !self.is_suspect(from) {
            return Ok(LookupPermit { _permit: None });
        }
        let permit = self
            .0
            .suspect_lookups
            .acquire(Network::widest(from), SUSPECT_LOOKUP_TIMEOUT)
            .await
            .map_err(|_| self.busy())?;
        Ok(LookupPermit { _permit: Some(permit) })
    }

    /// Runs a lookup within the limit, and counts an unknown credential against the caller's address.
    pub async fn look_up<T>(
        &self,
        from: IpAddr,
        look: impl Future<Output = Result<Option<T>, StoreError>>,
    ) -> Result<Option<T>, StoreError> {
        let found = {
            let _permit = self
                .0
                .lookups
                .acquire(Network::widest(from), LOOKUP_TIMEOUT)
                .await
                .map_err(|_| self.busy())?;
            look.await?
        };
        if found.is_none() {
            self.note_unknown(from).await;
        }
        Ok(found)
    }

    async fn note_unknown(&self, from: IpAddr) {
        let now = Instant::now();
        for (name, _) in rungs(from) {
            self.0.unknown.note(name, now);
        }
        if self.is_over(from, now) {
            self.0.last_suspect.store(self.age() + 1, Ordering::Relaxed);
            // A caller that was a suspect before holds its permit meanwhile.
            tokio::time::sleep(PACE).await;
        }
    }

    fn is_over(&self, from: IpAddr, now: Instant) -> bool {
        rungs(from).any(|(name, factor)| self.0.unknown.is_reached(&name, self.0.max.saturating_mul(factor), now))
    }

    fn busy(&self) -> StoreError {
        self.0.refused.increment(1);
        StoreError::Unavailable(Unavailable::Busy)
    }

    fn age(&self) -> u64 {
        millis(self.0.began.elapsed())
    }
}

fn rungs(from: IpAddr) -> impl Iterator<Item = (CountName, u32)> {
    Network::ladder(from).map(|(network, factor)| (*blake3::hash(network.to_string().as_bytes()).as_bytes(), factor))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::UnknownCredentials;
    use std::{
        net::IpAddr,
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[tokio::test]
    async fn a_suspect_is_slow_and_is_not_refused() {
        let unknown = UnknownCredentials::new(3, Duration::from_mins(1));
        let (here, elsewhere) = (at("192.0.2.1"), at("192.0.2.2"));
        for _ in 0..3 {
            assert!(!unknown.is_suspect(here));
            let found: Option<()> = unknown.look_up(here, async { Ok(None) }).await.unwrap();
            assert!(found.is_none());
        }
        assert!(unknown.is_suspect(here) && !unknown.is_suspect(elsewhere));
        let _look = unknown.admit_lookup(here).await.unwrap();
        let found = unknown.look_up(here, async { Ok(Some(7)) }).await.unwrap();
        assert_eq!(found, Some(7));
    }

    /// However many make credentials up, the database is asked for one at a time, and another network's is not behind them.
    #[tokio::test(start_paused = true)]
    async fn suspects_are_served_in_rotation_by_network() {
        let unknown = UnknownCredentials::new(1, Duration::from_mins(1));
        let (flood, other) = (at("192.0.2.1"), at("192.0.2.2"));
        for address in [flood, other] {
            let _: Option<()> = unknown.look_up(address, async { Ok(None) }).await.unwrap();
        }
        let (at_once, max, looked) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        let look = |from: IpAddr| {
            let (unknown, at_once, max, looked) = (&unknown, &at_once, &max, &looked);
            async move {
                let look = unknown.admit_lookup(from).await?;
                let asked = unknown.look_up(from, async {
                    max.fetch_max(at_once.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    at_once.fetch_sub(1, Ordering::Relaxed);
                    Ok(None::<()>)
                });
                let found = asked.await;
                drop(look);
                looked.fetch_add(1, Ordering::Relaxed);
                found
            }
        };
        let many = futures_util::future::join_all((0..50).map(|_| look(flood)));
        let one = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            look(other).await.unwrap();
            looked.load(Ordering::Relaxed)
        };
        let (_, before) = tokio::join!(many, one);
        assert_eq!(max.load(Ordering::Relaxed), 1);
        assert!(before <= 5, "{before} looks of the flood went first");
    }
}
