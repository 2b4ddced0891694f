//! Callers with credentials that nobody has: keys, cookies, refresh tokens, invitations. Each costs a look in Redis and in the
//! database, and whoever makes them up has no end of them.
//!
//! So the looks of all are bounded in number, and networks take turns at them. A network that has presented too many is not
//! refused, since a good credential may come from there as well: its looks go, one at a time and at a pace, through a share of
//! their own. Strangers are slow then, and what is good gets through.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::{Counter, counter};

use crate::{
    cache::counts::CountName,
    domain::network::Network,
    fair_queue::{self, FairQueue},
    service::throttle::Limit,
    store::{StoreError, error::Unavailable},
    telemetry::metrics::REFUSALS,
};

/// Looks at a time: few enough to leave the pool to others, and at a millisecond each, thousands a second.
const TURNS: usize = 5;
/// For a turn, as for a connection.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(500);
/// Looks at a time for networks that have presented too many unknown credentials.
const SUSPECT_TURNS: usize = 1;
/// A suspect waits longer: that is what it is slowed down by.
const SUSPECT_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// After a look in vain their turn is kept for so long, which bounds their looks to a hundred a second.
const PACE: Duration = Duration::from_millis(10);
/// Requests that wait for a look. When there are more, those of the network that waits with the most are turned away.
const MAX_WAITING: usize = 512;

/// Cheap to clone.
#[derive(Clone)]
pub struct UnknownCredentials(Arc<Inner>);

struct Inner {
    unknown: Limit,
    /// Unknown credentials that a network may present in a window before it is a suspect.
    max: u32,
    window: Duration,
    began: Instant,
    /// Milliseconds after `began` when a network was last found to be a suspect, and one more. 0: none ever was, and
    /// the hot path looks no further.
    last_suspect: AtomicU64,
    turns: FairQueue<Network>,
    suspect_turns: FairQueue<Network>,
    refused: Counter,
}

/// A suspect's turn, if the caller is one. Held while the credential is looked for in Redis and in the database.
pub struct Look {
    _turn: Option<fair_queue::Turn<Network>>,
}

impl UnknownCredentials {
    pub fn new(max: u32, window: Duration) -> Self {
        Self(Arc::new(Inner {
            unknown: Limit::new(window),
            max,
            window,
            began: Instant::now(),
            last_suspect: AtomicU64::new(0),
            turns: FairQueue::new(TURNS, MAX_WAITING),
            suspect_turns: FairQueue::new(SUSPECT_TURNS, MAX_WAITING),
            refused: counter!(REFUSALS, "reason" => "unknown_keys"),
        }))
    }

    /// Whether this address has presented too many credentials that nobody has.
    pub fn is_suspect(&self, from: IpAddr) -> bool {
        let last = self.0.last_suspect.load(Ordering::Relaxed);
        if last == 0 || self.age().saturating_sub(last) > millis(self.0.window) {
            return false;
        }
        self.is_over(from, Instant::now())
    }

    /// For a credential that is not in memory: a suspect waits for its turn here.
    pub async fn before_look(&self, from: IpAddr) -> Result<Look, StoreError> {
        if !self.is_suspect(from) {
            return Ok(Look { _turn: None });
        }
        let turn = self
            .0
            .suspect_turns
            .turn(Network::widest(from), SUSPECT_LOOKUP_TIMEOUT)
            .await
            .map_err(|_| self.busy())?;
        Ok(Look { _turn: Some(turn) })
    }

    /// Looks for a credential in turn, and remembers where it comes from if nobody has it.
    pub async fn look_up<T>(
        &self,
        from: IpAddr,
        look: impl Future<Output = Result<Option<T>, StoreError>>,
    ) -> Result<Option<T>, StoreError> {
        let found = {
            let _turn = self
                .0
                .turns
                .turn(Network::widest(from), LOOKUP_TIMEOUT)
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
            // The caller has its suspect's turn meanwhile, if it was one before.
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
        let _look = unknown.before_look(here).await.unwrap();
        let found = unknown.look_up(here, async { Ok(Some(7)) }).await.unwrap();
        assert_eq!(found, Some(7));
    }

    /// However many make credentials up, the database is asked for one at a time, and another network's is not behind them.
    #[tokio::test(start_paused = true)]
    async fn suspects_take_turns_by_network() {
        let unknown = UnknownCredentials::new(1, Duration::from_mins(1));
        let (flood, other) = (at("192.0.2.1"), at("192.0.2.2"));
        for address in [flood, other] {
            let _: Option<()> = unknown.look_up(address, async { Ok(None) }).await.unwrap();
        }
        let (at_once, max, looked) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        let look = |from: IpAddr| {
            let (unknown, at_once, max, looked) = (&unknown, &at_once, &max, &looked);
            async move {
                let look = unknown.before_look(from).await?;
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
