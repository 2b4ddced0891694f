//! Checks connections out of the pool, with a limit on every wait.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use sqlx::{PgConnection, Postgres, pool::PoolConnection};
use tokio::time::{Instant, timeout_at};

use super::{Database, shares::ConnectionPermit};
use crate::error::{StoreError, Unavailable};
use telemetry::context;

/// In milliseconds. A connection that was checked out this recently is taken to exist still, and a database that answered
/// this recently to be alive.
const JUST_NOW: u64 = 1_000;

impl Database {
    /// Checks out a connection. Fails within the acquire timeout if there is none.
    pub(crate) async fn checkout(&self) -> Result<PooledConnection, StoreError> {
        let inner = &self.inner;
        if inner.down.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable(Unavailable::KnownDown));
        }
        let limit = inner.acquire_timeout;
        let until = Instant::now() + limit;
        let _waiting = Waiting::begin(&inner.waiting);
        let organization = context::organization();
        let Ok(permit) = timeout_at(until, inner.shares.acquire(self.compartment, organization)).await else {
            // All permits are in use. That is load, not an outage, unless no statement was answered lately.
            if !self.has_answered_lately() {
                inner.changed.notify_one();
            }
            return Err(StoreError::Unavailable(Unavailable::Busy));
        };
        let error = match timeout_at(until + Duration::from_millis(100), self.acquire()).await {
            Ok(Ok(connection)) => {
                inner.in_use.fetch_add(1, Ordering::Relaxed);
                inner.lent_at.store(inner.age(), Ordering::Relaxed);
                return Ok(PooledConnection {
                    connection: Some(connection),
                    settled: false,
                    database: self.clone(),
                    _permit: permit,
                });
            }
            // For any reason, such as a changed password.
            Ok(Err(error)) => StoreError::Unavailable(Unavailable::Connection(error)),
            Err(_) => StoreError::Unavailable(Unavailable::NoAnswer(limit)),
        };
        self.record_error(&error);
        Err(error)
    }

    /// Whether a statement was answered within the last second, so that the other end is alive.
    pub(super) fn has_answered_lately(&self) -> bool {
        let answered_at = self.inner.answered_at.load(Ordering::Relaxed);
        answered_at > 0 && self.inner.age().saturating_sub(answered_at) < JUST_NOW
    }

    /// Whether the pool has connections, checked out or idle. One that is just being handed over is counted as neither.
    pub(super) fn has_connections(&self) -> bool {
        let lent_at = self.inner.lent_at.load(Ordering::Relaxed);
        self.inner.in_use.load(Ordering::Relaxed) + self.inner.pool.num_idle() > 0
            || (lent_at > 0 && self.inner.age().saturating_sub(lent_at) < JUST_NOW)
    }

    /// Bounds database work. PostgreSQL has the same limit and answers first if it is alive.
    pub(crate) async fn limit<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        let limit = self.inner.statement_timeout + Duration::from_millis(250);
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
            self.inner.answered_at.store(self.inner.age(), Ordering::Relaxed);
        }
        if let Err(error) = &outcome {
            self.record_error(error);
        }
        outcome
    }
}

/// Counts a request as waiting until dropped, so also when it is cancelled.
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

/// A checked-out connection. It returns to the pool only after [`settle`](Self::settle) and is closed otherwise: after a
/// timeout or a cancelled request its protocol state is unknown.
pub(crate) struct PooledConnection {
    connection: Option<PoolConnection<Postgres>>,
    settled: bool,
    database: Database,
    /// Dropped last, when the connection is already being returned.
    _permit: ConnectionPermit,
}

impl PooledConnection {
    pub(crate) fn get(&mut self) -> &mut PgConnection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("the connection is taken only by drop"),
        }
    }

    /// Returns the connection to the pool, if the outcome shows that it is sound.
    pub(crate) fn settle<T>(mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        self.settled = !matches!(outcome, Err(StoreError::Unavailable(_)));
        outcome
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        self.database.inner.in_use.fetch_sub(1, Ordering::Relaxed);
        if let Some(connection) = self.connection.take()
            && !self.settled
        {
            drop(connection.detach());
        }
    }
}
