//! Connections that were not open when somebody asked: looked at, or opened, with a limit on each.

use std::time::Duration;

use sqlx::{Connection as _, Postgres, pool::PoolConnection};
use tokio::sync::oneshot;

use super::{ANSWER_LIMIT, Database};
use crate::store::error::is_login_refused;

/// Until a connection of the pool is looked for again while the server takes no new ones.
const LOGIN_RETRY: Duration = Duration::from_millis(50);
/// Until a connection of the pool is looked for again while one is being opened.
const IDLE_RETRY: Duration = Duration::from_millis(10);

impl Database {
    /// From the pool, opened where none is idle. While the server refuses new logins, as between a password's change there
    /// and here, the connections that are left are taken in turns. To be called with a limit.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        loop {
            if let Some(connection) = self.idle().await {
                return Ok(connection);
            }
            match self.open().await {
                Err(error) if is_login_refused(&error) && self.has_connections() => {
                    self.shared.changed.notify_one();
                    tokio::time::sleep(LOGIN_RETRY).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// An idle connection whose other end answers. Those that do not are closed.
    async fn idle(&self) -> Option<PoolConnection<Postgres>> {
        while let Some(connection) = self.shared.pool.try_acquire() {
            let mut untested = Untested(Some(connection));
            if untested.answers().await
                && let Some(connection) = untested.0.take()
            {
                return Some(connection);
            }
        }
        None
    }

    /// Opens a connection in a task of its own: a database far away takes longer to connect to than a request waits, and what
    /// was begun for one that has given up is there for the next. Meanwhile another may be given back.
    async fn open(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let shared = &self.shared;
        let (handover, mut opened) = oneshot::channel();
        // No more at a time than there could be connections.
        if shared.opening.len() < shared.max_connections {
            let pool = shared.pool.clone();
            shared.opening.spawn(async move {
                // Goes back to the pool where nobody waits for it any more.
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
    pub(super) async fn ask_idle(&self) -> Option<Asked> {
        let mut found = None;
        while let Some(connection) = self.shared.pool.try_acquire() {
            let mut untested = Untested(Some(connection));
            match tokio::time::timeout(ANSWER_LIMIT, untested.ping()).await {
                Ok(true) => {
                    // Back to the pool.
                    drop(untested.0.take());
                    return Some(Asked::Answered);
                }
                Ok(false) => found = Some(Asked::Closed),
                Err(_) => return Some(Asked::Silent),
            }
        }
        found
    }
}

/// What came of asking over a connection that was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Answered,
    /// The other end has closed it, as a server does that stops.
    Closed,
    Silent,
}

/// A connection that nobody knows to be good; closed when dropped.
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
