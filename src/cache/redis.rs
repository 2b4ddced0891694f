//! A pool of connections to one Redis, with a limit on every wait.

use std::time::Duration;

use deadpool_redis::{
    Config, CreatePoolError, Pool, PoolError, Runtime,
    redis::{self, IntoConnectionInfo as _},
};
use secrecy::{ExposeSecret as _, SecretString};

const CONNECTIONS: usize = 8;
/// To get a connection, and for its answer. Longer than a healthy Redis ever takes, short enough to go without.
const LIMIT: Duration = Duration::from_millis(500);

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
}

/// Cheap to clone. Connects when it is first used.
#[derive(Clone)]
pub struct Redis {
    pool: Pool,
    address: std::sync::Arc<str>,
}

impl Redis {
    pub fn new(url: &SecretString) -> Result<Self, RedisError> {
        let info = url.expose_secret().into_connection_info().map_err(RedisError::Url)?;
        let address = info.addr().to_string();
        let pool = Config::from_url(url.expose_secret())
            .builder()
            .map_err(|error| RedisError::Setup(CreatePoolError::Config(error)))?
            .max_size(CONNECTIONS)
            .wait_timeout(Some(LIMIT))
            .create_timeout(Some(LIMIT))
            .recycle_timeout(Some(LIMIT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| RedisError::Setup(CreatePoolError::Build(error)))?;
        Ok(Self {
            pool,
            address: address.into(),
        })
    }

    /// Where it is, without user or password.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// One round trip.
    pub async fn ping(&self) -> Result<(), RedisError> {
        let mut connection = self.pool.get().await?;
        let ping = redis::cmd("PING");
        if let Ok(answer) = tokio::time::timeout(LIMIT, ping.query_async::<()>(&mut connection)).await {
            return Ok(answer?);
        }
        // What is still to come on it would be taken for the next command's answer.
        drop(deadpool_redis::Connection::take(connection));
        Err(RedisError::NoAnswer(LIMIT))
    }

    /// Connections in use, idle and allowed, and callers that wait for one.
    pub fn connections(&self) -> (usize, usize, usize, usize) {
        let status = self.pool.status();
        (
            status.size.saturating_sub(status.available),
            status.available,
            status.max_size,
            status.waiting,
        )
    }
}
