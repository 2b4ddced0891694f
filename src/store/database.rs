//! The pool, with two things added that a request needs: a limit on every wait, and a memory of being down.
//!
//! Without the memory each request would wait out the pool's timeout while the database is away. The first failure
//! closes the gate, requests are refused in microseconds, and one probe watches for the return.

mod lease;
mod outage;
mod rotation;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::sync::Notify;

use super::error::{StoreError, Unavailable};
use crate::config::DatabaseConfig;
use rotation::connect_options;

/// One look takes no longer.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// A handle to one PostgreSQL database. Cheap to clone.
#[derive(Clone)]
pub struct Database(Arc<Shared>);

struct Shared {
    pool: PgPool,
    /// When the connection URL last changed; connections from before are not lent again.
    rotated: Arc<Mutex<Option<Instant>>>,
    max_connections: usize,
    leased: AtomicUsize,
    created: Instant,
    /// Milliseconds after `created` when a connection was last lent.
    lent_at: AtomicU64,
    waiting: AtomicUsize,
    acquire_timeout: Duration,
    statement_timeout: Duration,
    down: AtomicBool,
    read_only: AtomicBool,
    /// The server takes no more connections; those of the pool go on.
    exhausted: AtomicBool,
    /// When a write or a connection was last refused by a server that otherwise goes on.
    refused: Mutex<Option<Instant>>,
    changed: Notify,
}

impl Shared {
    /// Milliseconds since it was made.
    fn age(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Database {
    /// Prepares the pool without connecting: the service starts, and says that it is not ready, while the database is
    /// still away.
    pub fn new(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let options = connect_options(&config.url, config.statement_timeout)?;
        let rotated: Arc<Mutex<Option<Instant>>> = Arc::default();
        let changed_at = Arc::clone(&rotated);
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .min_connections(config.min_connections)
            .acquire_timeout(config.acquire_timeout)
            .idle_timeout(Duration::from_mins(10))
            .max_lifetime(Duration::from_mins(30))
            .after_release(move |_, connection| {
                let changed_at = *changed_at.lock().unwrap_or_else(PoisonError::into_inner);
                let keep = changed_at.is_none_or(|at| at.elapsed() > connection.age);
                Box::pin(std::future::ready(Ok(keep)))
            })
            .connect_lazy_with(options);
        Ok(Self(Arc::new(Shared {
            pool,
            rotated,
            max_connections: config.max_connections as usize,
            leased: AtomicUsize::new(0),
            created: Instant::now(),
            lent_at: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            acquire_timeout: config.acquire_timeout,
            statement_timeout: config.statement_timeout,
            down: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
            exhausted: AtomicBool::new(false),
            refused: Mutex::default(),
            changed: Notify::new(),
        })))
    }

    /// The same for another server, such as a replica. Few connections: what asks it is not on a request's path.
    pub fn replica(config: &DatabaseConfig, url: &secrecy::SecretString) -> Result<Self, StoreError> {
        Self::new(&DatabaseConfig {
            url: url.clone(),
            max_connections: config.max_connections.min(4),
            min_connections: 0,
            ..config.clone()
        })
    }

    /// One round trip over a connection of its own, so that neither a full pool nor a stale connection answers for it.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let look = async {
            let mut connection = PgConnection::connect_with(&self.0.pool.connect_options()).await?;
            sqlx::query!(r#"SELECT 1 AS "one!""#).fetch_one(&mut connection).await?;
            connection.close().await
        };
        match tokio::time::timeout(PROBE_LIMIT, look).await {
            Ok(outcome) => outcome.map_err(|error| StoreError::Unavailable(Unavailable::Connection(error))),
            Err(_) => Err(StoreError::Unavailable(Unavailable::NoAnswer(PROBE_LIMIT))),
        }
    }

    /// A connection outside the pool, for migrations.
    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        // A migration may take longer than any request's statement.
        let options = (*self.0.pool.connect_options())
            .clone()
            .options([("statement_timeout", "0")]);
        Ok(PgConnection::connect_with(&options).await?)
    }

    /// One round trip over a connection of the pool, as a request makes it. A connection that fails it is closed.
    pub async fn check(&self) -> Result<(), StoreError> {
        let mut lease = match self.lease().await {
            Ok(lease) => lease,
            // None was free. Whether that is load or an outage, the server itself tells.
            Err(StoreError::Unavailable(Unavailable::Connection(sqlx::Error::PoolTimedOut))) => {
                return match self.probe().await {
                    Err(error) if !error.is_out_of_connections() => Err(error),
                    _ => Err(StoreError::Unavailable(Unavailable::Busy)),
                };
            }
            Err(error) => return Err(error),
        };
        let look = async {
            sqlx::query!(r#"SELECT 1 AS "one!""#)
                .fetch_one(lease.connection())
                .await
                .map(|_| ())
        };
        let outcome = match tokio::time::timeout(PROBE_LIMIT, look).await {
            Ok(outcome) => outcome.map_err(StoreError::from),
            Err(_) => Err(StoreError::Unavailable(Unavailable::NoAnswer(PROBE_LIMIT))),
        };
        lease.settle(outcome)
    }

    /// Where it is, without user or password.
    pub fn address(&self) -> String {
        let options = self.0.pool.connect_options();
        format!(
            "{}:{}/{}",
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or_default()
        )
    }

    pub fn is_down(&self) -> bool {
        self.0.down.load(Ordering::Relaxed)
    }

    /// The pool, counted.
    pub fn connections(&self) -> Connections {
        Connections {
            in_use: self.0.leased.load(Ordering::Relaxed),
            idle: self.0.pool.num_idle(),
            most: self.0.max_connections,
            waiting: self.0.waiting.load(Ordering::Relaxed),
        }
    }

    /// Opens the connections that the pool keeps, so that the first requests need not.
    pub async fn warm_up(&self) -> Result<(), StoreError> {
        self.check().await
    }

    /// Closes every connection, waiting for those in use at most `limit`.
    pub async fn close(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.0.pool.close()).await;
    }
}

/// Connections of a pool by what they do, and requests that wait for one.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    pub in_use: usize,
    pub idle: usize,
    pub most: usize,
    pub waiting: usize,
}
