//! The pool, with three things added that a request needs: a limit on every wait, a fair share, and a memory of being down.
//!
//! Without the memory each request would wait out the pool's timeout while the database is away. A failure makes one task
//! look; if the database is gone the gate closes, and requests are refused in microseconds until it is seen again.

mod abandoned;
mod failover;
mod opening;
mod outage;
mod pooled_connection;
mod rotation;
mod session;
mod shares;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::error::{StoreError, Unavailable};
use configuration::DatabaseConfig;
use failover::Failover;
pub use session::Sessions;
pub(super) use shares::Compartment;
use shares::Shares;

/// A round trip over a connection that is open takes no longer, or the other end is taken for hung.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// A health check waits no longer for a connection to be opened; its report is due within four seconds.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// A handle to one PostgreSQL database, for one kind of work. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    inner: Arc<DatabaseInner>,
    compartment: Compartment,
}

struct DatabaseInner {
    pool: PgPool,
    /// How many connections may be lent for which kind of work, and to whom.
    shares: Shares,
    /// Connections that are being opened.
    opening: TaskTracker,
    /// Which server connections lead to, and which of them are not lent again.
    failover: Arc<Failover>,
    max_connections: usize,
    in_use: AtomicUsize,
    created: Instant,
    /// Milliseconds after `created` when a connection was last lent.
    lent_at: AtomicU64,
    /// Milliseconds after `created` when a statement of a request was last answered.
    answered_at: AtomicU64,
    waiting: AtomicUsize,
    acquire_timeout: Duration,
    /// The longest to open one connection.
    connect_timeout: Duration,
    statement_timeout: Duration,
    down: AtomicBool,
    read_only: AtomicBool,
    /// Commits wait for a standby that does not confirm.
    unconfirmed: AtomicBool,
    /// The server takes no more connections; those of the pool go on.
    exhausted: AtomicBool,
    /// When a write or a connection was last refused by a server that otherwise goes on.
    refused: Mutex<Option<Instant>>,
    changed: Notify,
}

impl DatabaseInner {
    /// Milliseconds since it was made.
    fn age(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Database {
    /// Prepares the pool without connecting: the service starts, and says that it is not ready, while the database is
    /// still away.
    pub fn new(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let options = session::connect_options(&config.url)?;
        let statement_timeout = config.statement_timeout;
        let failover: Arc<Failover> = Arc::default();
        let (opened, released) = (Arc::clone(&failover), Arc::clone(&failover));
        let max_lifetime = config.max_lifetime;
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .min_connections(config.min_connections)
            // Of the pool's own work, which goes on when a request has given up waiting for it.
            .acquire_timeout(config.connect_timeout)
            // A line for each connection that took long to open would be one a request while the server is away.
            .acquire_slow_threshold(Duration::MAX)
            // Connections are looked at before they are lent, each within a limit of its own.
            .test_before_acquire(false)
            .idle_timeout(config.idle_timeout)
            .max_lifetime(max_lifetime)
            .after_connect(move |connection, _| {
                let failover = Arc::clone(&opened);
                Box::pin(async move {
                    failover.admit(connection).await?;
                    session::set_limits(connection, statement_timeout).await
                })
            })
            .after_release(move |_, connection| {
                // Those that were opened together do not all end together: over its last tenth, one release in eight is the last.
                let is_old = connection.age > max_lifetime.mul_f32(0.9) && connection.age.subsec_nanos() % 8 == 0;
                Box::pin(std::future::ready(Ok(!is_old && released.keeps(connection.age))))
            })
            .connect_lazy_with(options);
        let inner = Arc::new(DatabaseInner {
            pool,
            shares: Shares::new(config.max_connections as usize),
            opening: TaskTracker::new(),
            failover,
            max_connections: config.max_connections as usize,
            in_use: AtomicUsize::new(0),
            created: Instant::now(),
            lent_at: AtomicU64::new(0),
            answered_at: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            acquire_timeout: config.acquire_timeout,
            connect_timeout: config.connect_timeout,
            statement_timeout: config.statement_timeout,
            down: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
            unconfirmed: AtomicBool::new(false),
            exhausted: AtomicBool::new(false),
            refused: Mutex::default(),
            changed: Notify::new(),
        });
        Ok(Self {
            inner,
            compartment: Compartment::Background,
        })
    }

    /// The same pool for another kind of work.
    pub(super) fn compartment(&self, compartment: Compartment) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            compartment,
        }
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

    /// One round trip over a connection of its own, so that neither a full pool nor a stale connection answers for it. A
    /// connection that opens is a sign of life: the round trip has a limit of its own.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let limit = self.inner.connect_timeout;
        let look = async {
            let mut connection = self.open_apart().await?;
            match tokio::time::timeout(limit, connection.ping()).await {
                Ok(outcome) => outcome.map_err(|error| StoreError::Unavailable(Unavailable::Connection(error)))?,
                Err(_) => return Err(StoreError::Unavailable(Unavailable::NoAnswer(limit))),
            }
            // A farewell that does not arrive changes nothing about the answer.
            let _ = tokio::time::timeout(limit, connection.close()).await;
            Ok(())
        };
        look.await
    }

    /// A connection outside the pool, within the limit on opening one.
    async fn open_apart(&self) -> Result<PgConnection, StoreError> {
        let (limit, options) = (self.inner.connect_timeout, self.inner.pool.connect_options());
        let open = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            self.inner.failover.admit(&mut connection).await?;
            Ok(connection)
        };
        match tokio::time::timeout(limit, open).await {
            Ok(outcome) => outcome
                .inspect_err(|error: &sqlx::Error| self.leave_if_stopping(error))
                .map_err(|error| StoreError::Unavailable(Unavailable::Connection(error))),
            Err(_) => Err(StoreError::Unavailable(Unavailable::NoAnswer(limit))),
        }
    }

    /// A connection outside the pool, for migrations.
    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        let mut connection = PgConnection::connect_with(&self.inner.pool.connect_options()).await?;
        // A migration may take longer than any request's statement.
        session::lift_limits(&mut connection).await?;
        Ok(connection)
    }

    /// One round trip over a connection of the pool, as a request makes it. A connection that fails it is closed.
    pub async fn check(&self) -> Result<(), StoreError> {
        let mut connection = match self.checkout().await {
            Ok(connection) => connection,
            Err(StoreError::Unavailable(Unavailable::Busy)) if self.has_answered_lately() => {
                return Err(StoreError::Unavailable(Unavailable::Busy));
            }
            // None was to be had in time, nor a place where those who have one may all be waiting for a server that hangs. Whether that
            // is load or an outage, the server itself tells.
            Err(StoreError::Unavailable(Unavailable::NoAnswer(_) | Unavailable::Busy)) => {
                let limit = self.inner.acquire_timeout + CHECK_LIMIT;
                return match tokio::time::timeout(CHECK_LIMIT, self.probe()).await {
                    Err(_) => Err(StoreError::Unavailable(Unavailable::NoAnswer(limit))),
                    Ok(Err(error)) if !error.is_out_of_connections() => Err(error),
                    Ok(_) => Err(StoreError::Unavailable(Unavailable::Busy)),
                };
            }
            Err(error) => return Err(error),
        };
        let look = async {
            sqlx::query!(r#"SELECT 1 AS "one!""#)
                .fetch_one(connection.get())
                .await
                .map(|_| ())
        };
        let outcome = match tokio::time::timeout(ANSWER_LIMIT, look).await {
            Ok(outcome) => outcome.map_err(StoreError::from),
            Err(_) => Err(StoreError::Unavailable(Unavailable::NoAnswer(ANSWER_LIMIT))),
        };
        connection.settle(outcome)
    }

    /// Where it is, without user or password.
    pub fn address(&self) -> String {
        let options = self.inner.pool.connect_options();
        format!(
            "{}:{}/{}",
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or_default()
        )
    }

    pub fn is_down(&self) -> bool {
        self.inner.down.load(Ordering::Relaxed)
    }

    /// The pool, counted.
    pub fn connections(&self) -> Connections {
        Connections {
            in_use: self.inner.in_use.load(Ordering::Relaxed),
            idle: self.inner.pool.num_idle(),
            max: self.inner.max_connections,
            waiting: self.inner.waiting.load(Ordering::Relaxed),
        }
    }

    /// Opens a connection, however far the database is, so that the first requests need not.
    pub async fn warm_up(&self) -> Result<(), StoreError> {
        let opened = self.inner.pool.acquire().await;
        opened
            .map(|_| ())
            .map_err(|error| StoreError::Unavailable(Unavailable::Connection(error)))
    }

    /// Closes every connection, waiting for those in use at most `limit`.
    pub async fn close(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.inner.pool.close()).await;
    }
}

/// Connections of a pool by what they do, and requests that wait for one.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    pub in_use: usize,
    pub idle: usize,
    pub max: usize,
    pub waiting: usize,
}
