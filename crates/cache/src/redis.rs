//! One Redis, or one Redis Cluster, with a limit on every wait.
//!
//! All callers share one multiplexed connection. A broken connection, or several calls in a row without an answer, opens
//! the breaker of their part of the key space, and calls there then fail at once. A background task probes until Redis is
//! back, and reconnects if the connection is to blame. A shared cluster connection never re-routes a hung node's slots by
//! itself: only a new one does.

mod breaker;
mod commands;
mod counts;
mod link;
mod refusal;
mod watch;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use deadpool_redis::{
    CreatePoolError, PoolError,
    redis::{self, FromRedisValue},
};
use secrecy::SecretString;

use breaker::Breakers;
use configuration::{RedisConfig, RedisMode};
use link::{Link, RedisTarget};

/// Limit of [`Redis::ping`]. Longer than a healthy Redis ever takes, short enough to go without.
const PING_LIMIT: Duration = Duration::from_millis(500);
/// Limit of a command that no caller waits for.
pub(super) const BACKGROUND_LIMIT: Duration = Duration::from_millis(250);
/// Limit on connecting, for a whole cluster.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// A call that has waited less lost its time elsewhere, and says nothing about Redis.
const FAIR_WAIT: Duration = Duration::from_millis(40);

#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("redis.url is not understood")]
    Url(#[source] redis::RedisError),
    #[error(transparent)]
    Setup(#[from] CreatePoolError),
    #[error("redis.ca_file, {}, cannot be read", path.display())]
    CaFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("it refuses writes: {0}")]
    Refuses(String),
    #[error("no connection")]
    Connection(#[from] PoolError),
    #[error("the command failed")]
    Command(#[from] redis::RedisError),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("not asked, since it did not answer just now")]
    Open,
}

/// Cheap to clone. Connects when it is first used, or watched.
#[derive(Clone)]
pub struct Redis(Arc<RedisInner>);

struct RedisInner {
    authorities: Option<Vec<u8>>,
    target: ArcSwap<RedisTarget>,
    is_cluster: bool,
    link: RwLock<Option<Link>>,
    connecting: tokio::sync::Mutex<()>,
    breakers: Breakers,
    logged_away: AtomicBool,
    /// The reasons for the lost connection that have been logged since it was lost.
    logged_reasons: Mutex<Vec<String>>,
    /// Number of connections made so far.
    connections_made: AtomicU64,
    /// The error word of refused writes, while writes are refused.
    refusal: Mutex<Option<String>>,
}

impl Redis {
    /// `url` may be a comma-separated list of any nodes of a cluster.
    pub fn new(url: &SecretString, mode: RedisMode) -> Result<Self, RedisError> {
        Self::trusting(url, mode, None)
    }

    /// The Redis of a configuration, if there is one.
    pub fn configured(config: &RedisConfig) -> Result<Option<Self>, RedisError> {
        let Some(url) = config.in_use() else { return Ok(None) };
        let authorities = match &config.ca_file {
            Some(path) => Some(std::fs::read(path).map_err(|source| RedisError::CaFile {
                path: path.clone(),
                source,
            })?),
            None => None,
        };
        Self::trusting(url, config.mode, authorities).map(Some)
    }

    /// The same, but for `rediss://` it trusts the certificate authorities of a PEM file instead of the system's.
    pub fn trusting(url: &SecretString, mode: RedisMode, authorities: Option<Vec<u8>>) -> Result<Self, RedisError> {
        let target = RedisTarget::new(url, mode, authorities.as_deref())?;
        let is_cluster = target.is_cluster();
        let parts = if is_cluster { breaker::PARTS } else { 1 };
        Ok(Self(Arc::new(RedisInner {
            authorities,
            target: ArcSwap::from_pointee(target),
            is_cluster,
            link: RwLock::default(),
            connecting: tokio::sync::Mutex::default(),
            breakers: Breakers::new(parts),
            logged_away: AtomicBool::new(false),
            logged_reasons: Mutex::default(),
            connections_made: AtomicU64::new(0),
            refusal: Mutex::default(),
        })))
    }

    /// Connects to `url` from now on; if that fails nothing changes.
    pub async fn rotate(&self, url: &SecretString, mode: RedisMode) -> Result<(), RedisError> {
        let target = RedisTarget::new(url, mode, self.0.authorities.as_deref())?;
        let link = tokio::time::timeout(CONNECT_LIMIT, target.connect())
            .await
            .map_err(|_| RedisError::NoAnswer(CONNECT_LIMIT))??;
        self.0.target.store(Arc::new(target));
        self.set_link(link);
        Ok(())
    }

    /// The address without user or password.
    pub fn address(&self) -> String {
        self.target().address().to_owned()
    }

    fn target(&self) -> Arc<RedisTarget> {
        self.0.target.load_full()
    }

    /// One round trip, to every primary of a cluster.
    pub async fn ping(&self) -> Result<(), RedisError> {
        let ping = async {
            let mut link = self.connect().await?;
            match link.query::<redis::Value>(&redis::cmd("PING")).await {
                // A server that cannot save refuses even this, but it answers.
                Err(error) if refusal::refusal_of(&error).is_some() => Ok(()),
                answer => Ok(answer.map(|_| ())?),
            }
        };
        tokio::time::timeout(PING_LIMIT, ping)
            .await
            .unwrap_or(Err(RedisError::NoAnswer(PING_LIMIT)))
    }

    /// Connections in use, idle and allowed, and callers that wait for one.
    pub fn connections(&self) -> (usize, usize, usize, usize) {
        self.target().connections()
    }

    /// Whether all parts are called. Parts of a cluster may be unavailable while others serve.
    pub fn is_whole(&self) -> bool {
        self.current().is_some() && !self.0.breakers.any_open()
    }

    /// The connection, made if there is none yet.
    async fn connect(&self) -> Result<Link, RedisError> {
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let _one = self.0.connecting.lock().await;
        if let Some(link) = self.current() {
            return Ok(link);
        }
        self.replace().await
    }

    async fn replace(&self) -> Result<Link, RedisError> {
        let target = self.target();
        let made = tokio::time::timeout(CONNECT_LIMIT, target.connect())
            .await
            .map_err(|_| RedisError::NoAnswer(CONNECT_LIMIT))??;
        self.set_link(made.clone());
        Ok(made)
    }

    fn set_link(&self, link: Link) {
        *self.0.link.write().unwrap_or_else(PoisonError::into_inner) = Some(link);
        self.0.connections_made.fetch_add(1, Ordering::Release);
    }

    /// Changes with each new connection: behind it may be another server, or the same with other contents. `None` before
    /// the first, and for a cluster, whose client manages its connections.
    pub(super) fn connection_number(&self) -> Option<u64> {
        let number = self.0.connections_made.load(Ordering::Acquire);
        (number > 0 && !self.0.is_cluster).then_some(number)
    }

    fn current(&self) -> Option<Link> {
        self.0.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request with `deadline`, unless the breaker is open.
    async fn ask<T: FromRedisValue>(
        &self,
        slot: u16,
        deadline: Instant,
        request: impl AsyncFnOnce(&mut Link) -> redis::RedisResult<T>,
    ) -> Result<T, RedisError> {
        let part = self.0.breakers.part(slot);
        if part.is_open() {
            return Err(RedisError::Open);
        }
        let mut link = self.current().ok_or(RedisError::Open)?;
        let started = Instant::now();
        match tokio::time::timeout_at(deadline.into(), request(&mut link)).await {
            Ok(Ok(answer)) => {
                part.note_answer();
                Ok(answer)
            }
            Ok(Err(error)) => {
                if is_away(&error) {
                    part.open();
                } else {
                    part.note_answer();
                }
                self.note_refusal(part, &error);
                Err(error.into())
            }
            Err(_) => {
                let waited = started.elapsed();
                if waited >= FAIR_WAIT {
                    part.note_late();
                }
                Err(RedisError::NoAnswer(waited))
            }
        }
    }
}

/// Whether the error means that no server answers, rather than that the answer is an error.
fn is_away(error: &redis::RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_cluster_error()
        || error.is_connection_dropped()
        || error.is_connection_refusal()
        || error.is_unrecoverable_error()
}
