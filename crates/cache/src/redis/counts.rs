//! Counting attempts for all instances together.

use std::time::Duration;

use deadpool_redis::redis;

use super::{
    Redis, RedisError,
    commands::{milliseconds, soon},
};
use crate::key::slot_of;

/// Counts one attempt unless the ones before have to be waited for. Whatever is stored ends by itself, a window after the last
/// attempt that was counted. Gives how many were counted, and the wait in milliseconds where this one was not.
const COUNT: &str = "local wait = redis.call('PTTL', KEYS[2]) \
    if wait > 0 then return {0, wait} end \
    local count = redis.call('INCR', KEYS[1]) \
    redis.call('PEXPIRE', KEYS[1], ARGV[2]) \
    local over = count - tonumber(ARGV[1]) \
    if over >= 0 then \
        local pause = math.floor(math.min(tonumber(ARGV[3]) * 2 ^ math.min(over, 30), tonumber(ARGV[2]))) \
        redis.call('SET', KEYS[2], 1, 'PX', math.max(pause, 1)) \
    end \
    return {count, 0}";
/// Takes one attempt back, and the wait that it brought.
const UNCOUNT: &str = "redis.call('DEL', KEYS[2]) \
    local count = tonumber(redis.call('GET', KEYS[1]) or '0') \
    if count > 1 then return redis.call('DECR', KEYS[1]) end \
    return redis.call('DEL', KEYS[1])";

impl Redis {
    /// Attempts under `name` within `window`, and how long to wait where this one is beyond `max` and too early.
    pub(crate) async fn count_attempt(
        &self,
        name: &str,
        max: u32,
        window: Duration,
        first_wait: Duration,
    ) -> Result<(u32, Duration), RedisError> {
        let (count, wait) = keys(name);
        let mut command = redis::cmd("EVAL");
        command.arg(COUNT).arg(2).arg(&count).arg(&wait);
        command.arg(max).arg(milliseconds(window)).arg(milliseconds(first_wait));
        let (counted, wait): (u32, u64) = self
            .ask(slot_of(name.as_bytes()), soon(), async |link| {
                link.query(&command).await
            })
            .await?;
        Ok((counted, Duration::from_millis(wait)))
    }

    pub(crate) async fn uncount_attempt(&self, name: &str) -> Result<(), RedisError> {
        let (count, wait) = keys(name);
        let mut command = redis::cmd("EVAL");
        command.arg(UNCOUNT).arg(2).arg(&count).arg(&wait);
        self.ask(slot_of(name.as_bytes()), soon(), async |link| {
            link.query::<redis::Value>(&command).await
        })
        .await?;
        Ok(())
    }
}

/// Both on one shard.
fn keys(name: &str) -> (String, String) {
    (format!("maple:{{{name}}}:attempts"), format!("maple:{{{name}}}:wait"))
}
