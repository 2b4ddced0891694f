//! Lending connections, with a limit on every wait.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use sqlx::{PgConnection, Postgres, pool::PoolConnection};

use super::Database;
use crate::store::error::{StoreError, Unavailable, is_login_refused};

/// In milliseconds: a connection that was lent so lately is taken to be there still.
const JUST_NOW: u64 = 1_000;
/// Until a connection of the pool is looked for again while the server takes no new ones.
const LOGIN_RETRY: Duration = Duration::from_millis(50);

impl Database {
    /// Borrows a connection, or says at once that there is none to be had.
    pub(in crate::store) async fn lease(&self) -> Result<Lease, StoreError> {
        let shared = &self.0;
        if shared.down.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable(Unavailable::KnownDown));
        }
        // The pool has its own timeout; this one also bounds its ping of a connection whose peer hangs.
        let limit = shared.acquire_timeout + Duration::from_millis(100);
        let _waiting = Waiting::begin(&shared.waiting);
        match tokio::time::timeout(limit, self.acquire()).await {
            Ok(Ok(connection)) => {
                shared.leased.fetch_add(1, Ordering::Relaxed);
                shared.lent_at.store(shared.age(), Ordering::Relaxed);
                Ok(Lease {
                    connection: Some(connection),
                    settled: false,
                    database: self.clone(),
                })
            }
            // All connections are lent out and in use: that is load, and no reason to turn everybody away.
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_)
                if shared.leased.load(Ordering::Relaxed) >= shared.max_connections =>
            {
                Err(StoreError::Unavailable(Unavailable::Busy))
            }
            // Whatever the reason is, such as a password that was changed: without a connection there is no database.
            Ok(Err(error)) => {
                let error = StoreError::Unavailable(Unavailable::Connection(error));
                self.judge(&error);
                Err(error)
            }
            Err(_) => {
                let error = StoreError::Unavailable(Unavailable::NoAnswer(limit));
                self.judge(&error);
                Err(error)
            }
        }
    }

    /// From the pool. While the server refuses new logins, as between a password's change there and here, the
    /// connections that are left are taken in turns.
    async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        loop {
            match self.0.pool.acquire().await {
                Err(error) if is_login_refused(&error) && self.has_connections() => {
                    self.0.changed.notify_one();
                    tokio::time::sleep(LOGIN_RETRY).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Whether the pool has connections, lent out or not. One that is just changing hands is in no count.
    pub(super) fn has_connections(&self) -> bool {
        let lent_at = self.0.lent_at.load(Ordering::Relaxed);
        self.0.leased.load(Ordering::Relaxed) + self.0.pool.num_idle() > 0
            || (lent_at > 0 && self.0.age().saturating_sub(lent_at) < JUST_NOW)
    }

    /// Bounds database work. PostgreSQL has the same limit and answers first if it is alive.
    pub(in crate::store) async fn limit<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        let limit = self.0.statement_timeout + Duration::from_millis(250);
        let outcome = match tokio::time::timeout(limit, work).await {
            Ok(outcome) => outcome.map_err(StoreError::from),
            Err(_) => Err(StoreError::Unavailable(Unavailable::NoAnswer(limit))),
        };
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
        self.database.0.leased.fetch_sub(1, Ordering::Relaxed);
        if let Some(connection) = self.connection.take()
            && !self.settled
        {
            drop(connection.detach());
        }
    }
}
