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

/// The primary's last marker and time, and when that was heard here.
#[derive(Debug, Clone)]
struct Heard {
    marker: Marker,
    time: DateTime<Utc>,
    at: Instant,
}

/// What the primary last said of itself. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PrimaryMarker(Arc<Mutex<Option<Heard>>>);

impl PrimaryMarker {
    pub fn note(&self, marker: Marker, time: DateTime<Utc>) {
        let at = Instant::now();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Heard { marker, time, at });
    }

    fn heard(&self) -> Option<Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The markers of the primary and of its copies, looked at together.
#[derive(Clone)]
pub struct Watch {
    markers: Markers,
    primary: PrimaryMarker,
    replicas: Vec<Replica>,
}

impl Watch {
    pub fn new(primary: &Database, heard: PrimaryMarker, replicas: Vec<Replica>) -> Self {
        Self {
            markers: Markers(primary.compartment(super::Compartment::Background)),
            primary: heard,
            replicas,
        }
    }

    /// Opens a connection to the primary: one that leads elsewhere than the others do closes them.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.markers.0.probe().await
    }

    /// Notes what the copies have, then what the primary has, whose marker is written anew if it is older than `interval`.
    pub async fn look(&self, interval: Duration) -> Result<(), StoreError> {
        join_all(self.replicas.iter().map(Replica::look)).await;
        let (marker, time) = self.markers.write_if_due(interval).await?;
        self.primary.note(marker, time);
        Ok(())
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Replica {
    role: &'static str,
    database: Database,
    primary: PrimaryMarker,
    /// The newest marker that it was seen to have.
    found: Arc<Mutex<Option<Marker>>>,
    max_lag: Duration,
}

impl Replica {
    pub fn new(role: &'static str, database: Database, primary: PrimaryMarker, max_lag: Duration) -> Self {
        Self {
            role,
            database,
            primary,
            found: Arc::default(),
            max_lag,
        }
    }

    pub fn role(&self) -> &'static str {
        self.role
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Asks it for its marker, before the primary is asked for its own: a copy has no newer one then.
    async fn look(&self) {
        match Markers(self.database.clone()).newest().await {
            Ok(marker) => *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(marker),
            // What it had ages meanwhile.
            Err(error) => {
                tracing::debug!(target: "mapleai::database", replica = self.role, error = %error_chain(&error), "could not look how far a replica is behind");
            }
        }
        if let Some(lag) = self.lag() {
            gauge!(names::REPLICA_LAG, "database" => self.role).set(lag.as_secs_f64());
        }
    }

    /// How old its newest marker is, by the primary's clock. Up to the interval between two more than the copy is behind. Grows while
    /// it does not answer; `None` before both have been heard of.
    pub fn lag(&self) -> Option<Duration> {
        let primary = self.primary.heard()?;
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let behind = (primary.time - found.written_at).to_std().unwrap_or_default();
        Some(behind + primary.at.elapsed())
    }

    /// Whether it may be asked.
    pub fn fitness(&self) -> Result<(), Unfit> {
        let (Some(primary), Some(lag)) = (self.primary.heard(), self.lag()) else {
            return Err(Unfit::Unknown);
        };
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_foreign =
            found.is_none_or(|found| found.number > primary.marker.number || found.timeline > primary.marker.timeline);
        if is_foreign {
            Err(Unfit::Foreign)
        } else if lag > self.max_lag {
            Err(Unfit::Behind)
        } else {
            Ok(())
        }
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
