//! Detects a Redis that answers but refuses writes: a primary that has become a replica (`READONLY`), is out of memory
//! (`OOM`) or out of replicas (`NOREPLICAS`), or cannot save (`MISCONF`). Its entries cannot be invalidated, so no process
//! may trust them.
//!
//! A connection that survives a failover still leads to the former primary (public reports: envoyproxy/ratelimit #1191,
//! redis/go-redis #790), so a new connection is tried while writes are refused.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use deadpool_redis::redis;

use super::{BACKGROUND_LIMIT, Redis, RedisError, breaker::Part, watch::RECONNECT_AFTER};
use crate::key::slot_of;

/// A probe's key expires after this time.
const PROBE_TTL_MS: u64 = 1_000;

/// The error word of a refused write, if the state of the server is the reason.
pub(super) fn refusal_of(error: &redis::RedisError) -> Option<&'static str> {
    let code = error.code().unwrap_or_default();
    // From within a script older servers give a code of their own, and ours in the text.
    let detail = error.detail().unwrap_or_default();
    ["READONLY", "OOM", "NOREPLICAS", "MISCONF"]
        .into_iter()
        .find(|word| code == *word || (code == "ERR" && detail.contains(word)))
}

impl Redis {
    /// Whether Redis, or a part of it, has refused the last write.
    pub fn refuses_writes(&self) -> bool {
        self.0.breakers.any_refusing()
    }

    /// The error word of refused writes, while writes are refused.
    pub fn refusal(&self) -> Option<String> {
        if !self.refuses_writes() {
            return None;
        }
        self.0.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note_refusal(&self, part: &Part, error: &redis::RedisError) {
        let Some(word) = refusal_of(error) else { return };
        *self.0.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(word.to_owned());
        let was_well = !self.refuses_writes();
        if part.note_writable(false) && was_well {
            tracing::warn!(target: "mapleai::cache", address = self.address(), refusal = word, "Redis refuses writes; what it holds is not believed until it takes them");
        }
    }

    /// Writes a key that is never read, to one part after the other. A part that refuses counts as refusing from then on.
    pub async fn probe_write(&self, index: usize) -> Result<(), RedisError> {
        let part = self.0.breakers.at(index);
        self.write_to(part).await
    }

    async fn write_to(&self, part: &Part) -> Result<(), RedisError> {
        let mut probe = redis::cmd("SET");
        probe.arg(part.probe_key()).arg("").arg("PX").arg(PROBE_TTL_MS);
        let slot = slot_of(part.probe_key().as_bytes());
        let deadline = Instant::now() + BACKGROUND_LIMIT;
        let written = self
            .ask::<()>(slot, deadline, async |link| link.query(&probe).await)
            .await;
        match written {
            Ok(()) => {
                if part.note_writable(true) && !self.refuses_writes() {
                    tracing::info!(target: "mapleai::cache", address = self.address(), "Redis takes writes again");
                }
                Ok(())
            }
            Err(RedisError::Command(error)) => match refusal_of(&error) {
                Some(word) => Err(RedisError::Refuses(word.to_owned())),
                None => Err(error.into()),
            },
            Err(error) => Err(error),
        }
    }

    /// Retries parts that refused writes, now and then on a new connection: the name may lead to another server by now.
    pub(super) async fn look_at_refusals(&self, connected: &mut Option<Instant>) {
        for part in self.0.breakers.refusing_parts() {
            let _ = self.write_to(part).await;
        }
        if self.refuses_writes()
            && connected.is_none_or(|at| at.elapsed() >= RECONNECT_AFTER.max(Duration::from_secs(1)))
        {
            let _ = self.replace().await;
            *connected = Some(Instant::now());
        }
    }

    /// The run id of the server: it changes with a restart or another server. `None` for a server that does not report it.
    pub(crate) async fn server_run(&self) -> Result<Option<u64>, RedisError> {
        let mut command = redis::cmd("INFO");
        command.arg("server");
        let deadline = Instant::now() + BACKGROUND_LIMIT;
        let info: String = self.ask(0, deadline, async |link| link.query(&command).await).await?;
        let id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        Ok(id.and_then(|id| u64::from_str_radix(id.get(..16)?, 16).ok()))
    }
}
