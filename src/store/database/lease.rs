//! Lending connections, with a limit on every wait.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use sqlx::{PgConnection, Postgres, pool::PoolConnection};
use tokio::time::{Instant, timeout_at};

use super::{Database, shares::Place};
use crate::{
    store::error::{StoreError, Unavailable},
    telemetry::context,
};

/// In milliseconds: a connection that was lent so lately is taken to be there still, and a database that answered so lately
/// to be alive.
const JUST_NOW: u64 = 1_000;

impl Database {
    /// Borrows a connection, or says soon that there is none to be had.
    pub(in crate::store) async fn lease(&self) -> Result<Lease, StoreError> {
        let shared = &self.shared;
        if shared.down.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable(Unavailable::KnownDown));
        }
        let limit = shared.acquire_timeout;
        let until = Instant::now() + limit;
        let _waiting = Waiting::begin(&shared.waiting);
        let organization = context::organization();
        let Ok(place) = timeout_at(until, shared.shares.enter(self.compartment, organization)).await else {
            // All that may be lent are at work: that is load, and no reason to turn everybody away. Unless nobody is answered.
            if !self.has_answered_lately() {
                shared.changed.notify_one();
            }
            return Err(StoreError::Unavailable(Unavailable::Busy));
        };
        let error = match timeout_at(until + Duration::from_millis(100), self.acquire()).await {
            Ok(Ok(connection)) => {
                shared.leased.fetch_add(1, Ordering::Relaxed);
                shared.lent_at.store(shared.age(), Ordering::Relaxed);
                return Ok(Lease {
                    connection: Some(connection),
                    settled: false,
                    database: self.clone(),
                    _place: place,
                });
            }
            // Whatever the reason is, such as a password that was changed.
            Ok(Err(error)) => StoreError::Unavailable(Unavailable::Connection(error)),
            Err(_) => StoreError::Unavailable(Unavailable::NoAnswer(limit)),
        };
        self.judge(&error);
        Err(error)
    }

    /// Whether a statement was answered within the last second, so that the other end is alive.
    pub(super) fn has_answered_lately(&self) -> bool {
        let answered_at = self.shared.answered_at.load(Ordering::Relaxed);
        answered_at > 0 && self.shared.age().saturating_sub(answered_at) < JUST_NOW
    }

    /// Whether the pool has connections, lent out or not. One that is just changing hands is in no count.
    pub(super) fn has_connections(&self) -> bool {
        let lent_at = self.shared.lent_at.load(Ordering::Relaxed);
        self.shared.leased.load(Ordering::Relaxed) + self.shared.pool.num_idle() > 0
            || (lent_at > 0 && self.shared.age().saturating_sub(lent_at) < JUST_NOW)
    }

    /// Bounds database work. PostgreSQL has the same limit and answers first if it is alive.
    pub(in crate::store) async fn limit<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        let limit = self.shared.statement_timeout + Duration::from_millis(250);
        let outcome = match tokio::time::timeout(limit, work).await {
            Ok(outcome) => outcome.map_err(StoreError::from),
            Err(_) => Err(StoreError::Unavailable(Unavailable::NoAnswer(limit))),
        };
        if !matches!(
            outcome,
            Err(StoreError::Unavailable(
                Unavailable::NoAnswer(_) | Unavailable::Connection(_)
            ))
        ) {
            self.shared.answered_at.store(self.shared.age(), Ordering::Relaxed);
        }
        if let Err(error) = &outcome {
            self.judge(error);
        }
        outcome
    }
}

/// Counts a request as waiting until dropped, even when it is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A borrowed connection. Unless it was settled it is closed instead of returned: after a timeout or a cancelled request
/// nobody knows what is still to come on it.
pub(in crate::store) struct Lease {
    connection: Option<PoolConnection<Postgres>>,
    settled: bool,
    database: Database,
    /// Given up last, when the connection is on its way back.
    _place: Place,
}

impl Lease {
    pub(in crate::store) fn connection(&mut self) -> &mut PgConnection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("the connection is taken only by drop"),
        }
    }

    /// Returns the connection to the pool, if the outcome shows that it is sound.
    pub(in crate::store) fn settle<T>(mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        self.settled = !matches!(outcome, Err(StoreError::Unavailable(_)));
        outcome
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.database.shared.leased.fetch_sub(1, Ordering::Relaxed);
        if let Some(connection) = self.connection.take()
            && !self.settled
        {
            drop(connection.detach());
        }
    }
}
