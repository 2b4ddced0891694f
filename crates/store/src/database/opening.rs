//! Tests idle connections and opens new ones, with a limit on each step.

use std::time::Duration;

use sqlx::{Connection as _, Postgres, pool::PoolConnection};
use tokio::sync::oneshot;

use super::{ANSWER_LIMIT, Database};
use crate::error::is_login_refused;

/// Between two looks for an idle connection while the server refuses new ones.
const LOGIN_RETRY: Duration = Duration::from_millis(50);
/// Between two looks for an idle connection while a new one is being opened.
const IDLE_RETRY: Duration = Duration::from_millis(10);

impl Database {
    /// A connection from the pool, opened if none is idle. While the server refuses new logins, as between a password's change
    /// there and here, requests share the connections that are left. The caller sets a time limit.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        loop {
            if let Some(connection) = self.idle().await {
                return Ok(connection);
            }
            match self.open().await {
                Err(error) if is_login_refused(&error) && self.has_connections() => {
                    self.inner.changed.notify_one();
                    tokio::time::sleep(LOGIN_RETRY).await;
                }
                outcome => return outcome.inspect_err(|error| self.leave_if_stopping(error)),
            }
        }
    }

    /// An idle connection that answers a ping. Those that do not are closed.
    async fn idle(&self) -> Option<PoolConnection<Postgres>> {
        self.close_retired();
        while let Some(connection) = self.inner.pool.try_acquire() {
            let mut untested = Untested(Some(connection));
            if untested.answers().await
                && let Some(connection) = untested.0.take()
            {
                return Some(connection);
            }
        }
        None
    }

    /// Opens a connection in a separate task: connecting to a distant database may take longer than a request waits, and the
    /// connection is then there for the next request. Returns an idle connection if one is released first.
    async fn open(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let inner = &self.inner;
        let (handover, mut opened) = oneshot::channel();
        // At most as many attempts at a time as there may be connections.
        if inner.opening.len() < inner.max_connections {
            let pool = inner.pool.clone();
            inner.opening.spawn(async move {
                // Returns to the pool if the request has stopped waiting.
                drop(handover.send(pool.acquire().await));
            });
        } else {
            drop(handover);
        }
        let mut may_come = true;
        loop {
            tokio::select! {
                outcome = &mut opened, if may_come => match outcome {
                    Ok(outcome) => return outcome,
                    Err(_) => may_come = false,
                },
                () = tokio::time::sleep(IDLE_RETRY) => {
                    if let Some(connection) = self.idle().await {
                        return Ok(connection);
                    }
                }
            }
        }
    }

    /// A round trip over a connection that is open and idle. None if there is no such connection.
    pub(super) async fn ask_idle(&self) -> Option<ProbeResult> {
        let mut found = None;
        while let Some(connection) = self.inner.pool.try_acquire() {
            let mut untested = Untested(Some(connection));
            match tokio::time::timeout(ANSWER_LIMIT, untested.ping()).await {
                Ok(true) => {
                    // Back to the pool.
                    drop(untested.0.take());
                    return Some(ProbeResult::Answered);
                }
                Ok(false) => found = Some(ProbeResult::Closed),
                Err(_) => return Some(ProbeResult::Silent),
            }
        }
        found
    }
}

/// The result of a ping over an idle connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeResult {
    Answered,
    /// The server has closed it, as it does when it stops.
    Closed,
    Silent,
}

/// An untested connection; closed when dropped.
struct Untested(Option<PoolConnection<Postgres>>);

impl Untested {
    async fn ping(&mut self) -> bool {
        match &mut self.0 {
            Some(connection) => connection.ping().await.is_ok(),
            None => false,
        }
    }

    async fn answers(&mut self) -> bool {
        matches!(tokio::time::timeout(ANSWER_LIMIT, self.ping()).await, Ok(true))
    }
}

impl Drop for Untested {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}
