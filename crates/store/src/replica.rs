//! A read replica, and how old what it has is.
//!
//! Its own word is not taken for it: what a standby knows of its lag is what it has received, so one that is cut off has none
//! (prometheus-community/postgres_exporter #545). The marker that it has tells, beside the primary's.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use metrics::{counter, gauge};

use super::{
    Database, StoreError,
    markers::{Marker, Markers},
};
use telemetry::{error_chain, metrics as names};

/// Why a replica is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It has not been looked at yet, or the primary has not.
    Unknown,
    /// What it has is older than is allowed, or it does not answer.
    Behind,
    /// It has what the primary never had: another database, or another history of this one.
    Foreign,
}

impl Unfit {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Behind => "behind",
            Self::Foreign => "foreign",
        }
    }
}

/// What was found when the replica, and then the primary, were last asked. Both are noted together: between the two answers the replica
/// would seem to have what the primary has not.
#[derive(Debug, Clone)]
struct Look {
    /// The replica's newest marker. Where it did not answer, the one that it had before.
    copied: Marker,
    primary: Marker,
    /// The primary's clock, and when that was read here.
    time: DateTime<Utc>,
    at: Instant,
}

impl Look {
    fn lag(&self) -> Duration {
        (self.time - self.copied.written_at).to_std().unwrap_or_default() + self.at.elapsed()
    }

    fn fitness(&self, max_lag: Duration) -> Result<(), Unfit> {
        if self.copied.number > self.primary.number || self.copied.timeline > self.primary.timeline {
            Err(Unfit::Foreign)
        } else if self.lag() > max_lag {
            Err(Unfit::Behind)
        } else {
            Ok(())
        }
    }
}

/// The markers of the primary and of its copies, looked at together.
#[derive(Clone)]
pub struct Watch {
    markers: Markers,
    replicas: Vec<Replica>,
}

impl Watch {
    pub fn new(primary: &Database, replicas: Vec<Replica>) -> Self {
        Self {
            markers: Markers(primary.compartment(super::Compartment::Background)),
            replicas,
        }
    }

    /// Opens a connection to the primary: one that leads elsewhere than the others do closes them.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.markers.0.probe().await
    }

    /// Asks the copies for their markers, then the primary for its own, which is written anew if it is older than `interval`. In this
    /// order, since a copy has none then that the primary has not. Where the primary does not answer, what was found before ages.
    pub async fn look(&self, interval: Duration) -> Result<(), StoreError> {
        let copied = join_all(self.replicas.iter().map(Replica::newest)).await;
        let written = self.markers.write_if_due(interval).await;
        let at = Instant::now();
        for (replica, copied) in self.replicas.iter().zip(copied) {
            if let Ok((primary, time)) = &written {
                replica.note(copied, primary, *time, at);
            }
            if let Some(lag) = replica.lag() {
                gauge!(names::REPLICA_LAG, "database" => replica.role).set(lag.as_secs_f64());
            }
        }
        written.map(|_| ())
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Replica {
    role: &'static str,
    database: Database,
    last: Arc<Mutex<Option<Look>>>,
    max_lag: Duration,
}

impl Replica {
    pub fn new(role: &'static str, database: Database, max_lag: Duration) -> Self {
        Self {
            role,
            database,
            last: Arc::default(),
            max_lag,
        }
    }

    pub fn role(&self) -> &'static str {
        self.role
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    async fn newest(&self) -> Option<Marker> {
        let found = Markers(self.database.clone()).newest().await;
        found
            .inspect_err(|error| {
                tracing::debug!(target: "mapleai::database", replica = self.role, error = %error_chain(error), "could not look how far a replica is behind");
            })
            .ok()
    }

    fn note(&self, copied: Option<Marker>, primary: &Marker, time: DateTime<Utc>, at: Instant) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let copied = copied.or_else(|| last.as_ref().map(|look| look.copied.clone()));
        *last = copied.map(|copied| Look {
            copied,
            primary: primary.clone(),
            time,
            at,
        });
    }

    fn last(&self) -> Option<Look> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How old its newest marker is, by the primary's clock. Up to the interval between two more than the copy is behind. Grows while
    /// one of the two does not answer; `None` before both have.
    pub fn lag(&self) -> Option<Duration> {
        self.last().map(|look| look.lag())
    }

    /// Whether it may be asked.
    pub fn fitness(&self) -> Result<(), Unfit> {
        self.last().ok_or(Unfit::Unknown)?.fitness(self.max_lag)
    }

    /// Its answer, or else the primary's: where it may not be asked, is away, hangs, or has not been migrated yet. Counted.
    pub(super) async fn or_primary<T, A>(
        replica: Option<&Self>,
        primary: &Database,
        ask: impl Fn(Database) -> A,
    ) -> Result<T, StoreError>
    where
        A: Future<Output = Result<T, StoreError>>,
    {
        let Some(replica) = replica else {
            return ask(primary.clone()).await;
        };
        let reason = match replica.fitness() {
            Ok(()) => match ask(replica.database.clone()).await {
                Ok(answer) => {
                    replica.count("replica", "fit");
                    return Ok(answer);
                }
                Err(error) => {
                    tracing::debug!(target: "mapleai::database", replica = replica.role, error = %error_chain(&error), "the primary is asked instead of a replica");
                    "failed"
                }
            },
            Err(unfit) => unfit.as_str(),
        };
        replica.count("primary", reason);
        ask(primary.clone()).await
    }

    fn count(&self, source: &'static str, reason: &'static str) {
        counter!(names::REPLICA_READS, "database" => self.role, "source" => source, "reason" => reason).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use chrono::TimeDelta;
    use domain::clock::Clock;

    use super::{Look, Marker, Unfit};

    #[test]
    fn a_copy_is_fit_while_it_is_young_and_has_nothing_that_the_primary_has_not() {
        let now = Clock::system().now();
        let fitness = |number, timeline, seconds| {
            let marker = |number, timeline, seconds| Marker {
                number,
                timeline,
                written_at: now - TimeDelta::seconds(seconds),
            };
            let look = Look {
                copied: marker(number, timeline, seconds),
                primary: marker(7, 2, 1),
                time: now,
                at: Instant::now(),
            };
            look.fitness(Duration::from_secs(15))
        };
        assert_eq!(fitness(7, 2, 1), Ok(()));
        assert_eq!(fitness(5, 1, 11), Ok(()));
        assert_eq!(fitness(4, 2, 16), Err(Unfit::Behind));
        assert_eq!(fitness(8, 2, 0), Err(Unfit::Foreign));
        assert_eq!(fitness(7, 3, 1), Err(Unfit::Foreign));
        // By a clock that is ahead.
        assert_eq!(fitness(7, 2, -60), Ok(()));
    }
}
