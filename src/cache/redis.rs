//! One Redis, or one Redis Cluster, with a limit on every wait.
//!
//! All callers share one multiplexed connection. A call that finds nobody home opens the breaker of its part of the key
//! space, and from then on calls there cost nothing; a task of our own looks when it is back, and connects anew where the
//! connection is to blame. A shared cluster connection never re-routes a hung node's slots by itself: only a new one does.

mod breaker;
mod commands;
mod link;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_redis::{
    CreatePoolError, PoolError,
    redis::{self, FromRedisValue},
};
use futures_util::future::join_all;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::{config::RedisMode, domain::swap::Swap};
use breaker::Breakers;
use link::{Link, Target};

/// For a look by [`Redis::ping`]. Longer than a healthy Redis ever takes, short enough to go without.
const PING_LIMIT: Duration = Duration::from_millis(500);
/// For a command that nobody waits for.
pub(super) const BACKGROUND_LIMIT: Duration = Duration::from_millis(250);
/// To connect, for a whole cluster.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Between two looks of the task that watches.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// A part that does not come back on this connection by then is tried on a new one, and again after as long.
const RECONNECT_AFTER: Duration = Duration::from_millis(400);

#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("redis.url is not understood")]
    Url(#[source] redis::RedisError),
    #[error(transparent)]
    Setup(#[from] CreatePoolError),
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
pub struct Redis(Arc<Inner>);

struct Inner {
    target: Swap<Target>,
    is_cluster: bool,
    link: RwLock<Option<Link>>,
    connecting: tokio::sync::Mutex<()>,
    breakers: Breakers,
    told_away: AtomicBool,
}

impl Redis {
    /// `url` may be a comma-separated list for a cluster: any nodes of it.
    pub fn new(url: &SecretString, mode: RedisMode) -> Result<Self, RedisError> {
        let target = Target::new(url, mode)?;
        let is_cluster = target.is_cluster();
        let parts = if is_cluster { breaker::PARTS } else { 1 };
        Ok(Self(Arc::new(Inner {
            target: Swap::new(target),
            is_cluster,
            link: RwLock::default(),
            connecting: tokio::sync::Mutex::default(),
            breakers: Breakers::new(parts),
            told_away: AtomicBool::new(false),
        })))
    }

    /// Connects to `url` from now on; a connection that cannot be made leaves everything as it is.
    pub async fn rotate(&self, url: &SecretString, mode: RedisMode) -> Result<(), RedisError> {
        let target = Target::new(url, mode)?;
        let link = tokio::time::timeout(CONNECT_LIMIT, target.connect())
            .await
            .map_err(|_| RedisError::NoAnswer(CONNECT_LIMIT))??;
        self.0.target.set(target);
        *self.0.link.write().unwrap_or_else(PoisonError::into_inner) = Some(link);
        Ok(())
    }

    /// Where it is, without user or password.
    pub fn address(&self) -> String {
        self.target().address().to_owned()
    }

    fn target(&self) -> Arc<Target> {
        self.0.target.get()
    }

    /// One round trip, to every primary of a cluster.
    pub async fn ping(&self) -> Result<(), RedisError> {
        let ping = async {
            let mut link = self.connect().await?;
            link.query::<redis::Value>(&redis::cmd("PING")).await?;
            Ok(())
        };
        tokio::time::timeout(PING_LIMIT, ping)
            .await
            .unwrap_or(Err(RedisError::NoAnswer(PING_LIMIT)))
    }

    /// Connections in use, idle and allowed, and callers that wait for one.
    pub fn connections(&self) -> (usize, usize, usize, usize) {
        self.target().connections()
    }

    /// Whether calls are made, to all of it. Parts of a cluster may be away while others serve.
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
        *self.0.link.write().unwrap_or_else(PoisonError::into_inner) = Some(made.clone());
        Ok(made)
    }

    fn current(&self) -> Option<Link> {
        self.0.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks by `deadline`, unless it is known that nobody would answer.
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
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if is_away(&error) {
                    part.open();
                }
                Err(error.into())
            }
            Err(_) => {
                part.open();
                Err(RedisError::NoAnswer(started.elapsed()))
            }
        }
    }

    /// Connects, and looks after what does not answer, until told to stop.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut connected: Option<Instant> = None;
        let work = async {
            loop {
                self.look(&mut connected).await;
                tokio::time::sleep(WATCH_INTERVAL).await;
            }
        };
        let _ = stop.run_until_cancelled(work).await;
    }

    async fn look(&self, connected: &mut Option<Instant>) {
        let breakers = &self.0.breakers;
        if self.current().is_some() && !breakers.any_open() {
            self.tell(true);
            return;
        }
        if self.current().is_none() && connected.is_none() {
            // Nobody has asked it anything yet: whether it is there shows now.
            let made = self.replace().await;
            *connected = Some(Instant::now());
            self.tell(made.is_ok());
            return;
        }
        if let Some(link) = self.current() {
            let probes = breakers.open_parts().map(|part| {
                let mut link = link.clone();
                async move {
                    let mut probe = redis::cmd("EXISTS");
                    probe.arg(part.probe_key());
                    let answer = tokio::time::timeout(BACKGROUND_LIMIT, link.query::<redis::Value>(&probe)).await;
                    if matches!(&answer, Ok(Ok(_))) {
                        part.close();
                    }
                }
            });
            join_all(probes).await;
            if !breakers.any_open() {
                self.tell(true);
                return;
            }
        }
        self.tell(false);
        if connected.is_none_or(|at| at.elapsed() >= RECONNECT_AFTER) {
            if self.replace().await.is_err() {
                tracing::debug!(target: "mapleai::cache", address = self.address(), "still no connection to Redis");
            }
            *connected = Some(Instant::now());
        }
    }

    /// Changes of state are told, not calls.
    fn tell(&self, is_there: bool) {
        if self.0.told_away.swap(!is_there, Ordering::Relaxed) == is_there {
            if is_there {
                tracing::info!(target: "mapleai::cache", address = self.address(), "Redis answers again");
            } else {
                tracing::warn!(target: "mapleai::cache", address = self.address(), "Redis, or a part of it, does not answer; going on without");
            }
        }
    }
}

/// Whether the error says that there is nobody who could answer, rather than that an answer is no.
fn is_away(error: &redis::RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_cluster_error()
        || error.is_connection_dropped()
        || error.is_connection_refusal()
        || error.is_unrecoverable_error()
}
