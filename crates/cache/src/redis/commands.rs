//! The commands that the cache needs, each one round trip to one shard.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use deadpool_redis::redis::{self, aio::PubSub};

use super::{BACKGROUND_LIMIT, CONNECT_LIMIT, Redis, RedisError};
use crate::key::{RedisKeys, slot_of};
use configuration::cache::MAX_TTL;

/// Epochs of the classes: a hash of class -> token. One small key, asked for several times a second.
const EPOCHS: &str = "maple:epochs";
const CHANNEL: &str = "maple:invalidations";
/// A purged tenant's generation outlives whatever was written in the one before, by whatever configuration.
const KEPT_GENERATIONS: Duration = MAX_TTL.saturating_add(Duration::from_hours(24));

/// Stores only for who still holds the lease: whoever invalidated the key meanwhile has taken it away.
const FILL: &str = "if redis.call('GET', KEYS[2]) == ARGV[1] then \
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) redis.call('DEL', KEYS[2]) return 1 end return 0";
/// Gives a lease back, if it is still ours.
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// What stands under a key, and the tenant's generation that it must be of.
pub(crate) struct Fetched {
    pub(crate) value: Option<Bytes>,
    pub(crate) generation: u64,
}

pub(super) fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}

pub(super) fn soon() -> Instant {
    Instant::now() + BACKGROUND_LIMIT
}

impl Redis {
    pub(crate) async fn fetch(&self, keys: &RedisKeys, deadline: Instant) -> Result<Fetched, RedisError> {
        let mut command = redis::cmd("MGET");
        command.arg(&keys.value).arg(&keys.generation);
        let (value, generation): (Option<Bytes>, Option<u64>) = self
            .ask(keys.slot, deadline, async |link| link.query(&command).await)
            .await?;
        Ok(Fetched {
            value,
            generation: generation.unwrap_or(0),
        })
    }

    /// Whether the caller is the one to load. Nobody else is until it has stored, given back, or `ttl` is over.
    pub(crate) async fn lease(
        &self,
        keys: &RedisKeys,
        token: u64,
        ttl: Duration,
        deadline: Instant,
    ) -> Result<bool, RedisError> {
        let mut command = redis::cmd("SET");
        command
            .arg(&keys.lease)
            .arg(token)
            .arg("NX")
            .arg("PX")
            .arg(milliseconds(ttl));
        let set: Option<String> = self
            .ask(keys.slot, deadline, async |link| link.query(&command).await)
            .await?;
        Ok(set.is_some())
    }

    /// Stores under a lease. False if it has been lost, which means that the value may be old.
    pub(crate) async fn fill(
        &self,
        keys: &RedisKeys,
        token: u64,
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, RedisError> {
        let mut command = redis::cmd("EVAL");
        command.arg(FILL).arg(2).arg(&keys.value).arg(&keys.lease);
        command.arg(token).arg(value).arg(milliseconds(ttl));
        self.ask(keys.slot, soon(), async |link| link.query(&command).await)
            .await
    }

    pub(crate) async fn release(&self, keys: &RedisKeys, token: u64) -> Result<(), RedisError> {
        let mut command = redis::cmd("EVAL");
        command.arg(RELEASE).arg(1).arg(&keys.lease).arg(token);
        self.ask(keys.slot, soon(), async |link| link.query(&command).await)
            .await
    }

    /// Stores what no write can make wrong.
    pub(crate) async fn set(&self, keys: &RedisKeys, value: &[u8], ttl: Duration) -> Result<(), RedisError> {
        let mut command = redis::cmd("SET");
        command.arg(&keys.value).arg(value).arg("PX").arg(milliseconds(ttl));
        self.ask(keys.slot, soon(), async |link| link.query(&command).await)
            .await
    }

    /// Removes a value, and takes the lease from who is loading it.
    pub(crate) async fn remove(&self, keys: &RedisKeys) -> Result<(), RedisError> {
        let mut command = redis::cmd("DEL");
        command.arg(&keys.value).arg(&keys.lease);
        self.ask(keys.slot, soon(), async |link| link.query(&command).await)
            .await
    }

    /// Makes everything that a tenant has of a class unreadable.
    pub(crate) async fn set_generation(&self, name: &str, slot: u16, generation: u64) -> Result<(), RedisError> {
        let mut command = redis::cmd("SET");
        command
            .arg(name)
            .arg(generation)
            .arg("PX")
            .arg(milliseconds(KEPT_GENERATIONS));
        self.ask(slot, soon(), async |link| link.query(&command).await).await
    }

    pub(crate) async fn epochs(&self) -> Result<HashMap<String, u64>, RedisError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(EPOCHS);
        self.ask(slot_of(EPOCHS.as_bytes()), soon(), async |link| {
            link.query(&command).await
        })
        .await
    }

    /// Makes everything of these classes unreadable, whosever it is.
    pub(crate) async fn set_epochs(&self, epochs: &[(&str, u64)]) -> Result<(), RedisError> {
        let mut command = redis::cmd("HSET");
        command.arg(EPOCHS);
        for (class, epoch) in epochs {
            command.arg(*class).arg(*epoch);
        }
        self.ask(slot_of(EPOCHS.as_bytes()), soon(), async |link| {
            link.query(&command).await
        })
        .await
    }

    /// Tells all processes.
    pub(crate) async fn publish(&self, messages: &[String]) -> Result<(), RedisError> {
        if self.0.is_cluster {
            return self.publish_by_any_node(messages).await;
        }
        let mut commands = redis::pipe();
        for message in messages {
            commands.cmd("PUBLISH").arg(CHANNEL).arg(message).ignore();
        }
        self.ask(slot_of(CHANNEL.as_bytes()), soon(), async |link| {
            link.query_all(&commands).await
        })
        .await
    }

    /// A cluster sends it by whichever node, so one that hangs costs one try, and no breaker can tell which.
    async fn publish_by_any_node(&self, messages: &[String]) -> Result<(), RedisError> {
        let mut last = RedisError::Open;
        for _ in 0..3 {
            let Some(mut link) = self.current() else {
                return Err(RedisError::Open);
            };
            match tokio::time::timeout(BACKGROUND_LIMIT, publish_each(&mut link, messages)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => last = error.into(),
                Err(_) => last = RedisError::NoAnswer(BACKGROUND_LIMIT),
            }
        }
        Err(last)
    }

    pub(crate) async fn subscribe(&self, index: usize) -> Result<PubSub, RedisError> {
        let subscribing = async {
            let mut subscriber = self.target().subscriber(index).await?;
            subscriber.subscribe(CHANNEL).await?;
            Ok(subscriber)
        };
        tokio::time::timeout(CONNECT_LIMIT / 3, subscribing)
            .await
            .unwrap_or(Err(RedisError::NoAnswer(CONNECT_LIMIT / 3)))
    }
}

async fn publish_each(link: &mut super::Link, messages: &[String]) -> redis::RedisResult<()> {
    for message in messages {
        let mut command = redis::cmd("PUBLISH");
        command.arg(CHANNEL).arg(message);
        link.query::<redis::Value>(&command).await?;
    }
    Ok(())
}
