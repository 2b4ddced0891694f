//! The Redis channel on which processes send each other invalidations.
//!
//! ```text
//! <instance> h                              a heartbeat: a process that receives none has lost the channel
//! <instance> c                              the same, from a process whose writes Redis refuses: no one may trust Redis
//! <instance> k <class> <hash>               one entry
//! <instance> p <class> <organisation | *> <token>
//!                                           all entries of a class, of one organisation or of all
//! ```

use std::time::Duration;

use deadpool_redis::redis::{Msg, aio::PubSub};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{
    class::Class,
    redis::{Redis, RedisError},
    tiers::{LAST_PURGE, Tiers},
};
use domain::ids::OrganizationId;

/// The field beside the epochs that holds the run id of the server they belong to.
const SERVER: &str = "server";
/// Four heartbeats fit into the time after which the channel counts as lost.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);
/// After so long without a message, not even our own heartbeat, the connection is given up.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(1);
const RECONNECT_DELAY: Duration = Duration::from_millis(200);

/// Receives messages until `stop`.
pub async fn listen(tiers: Tiers, stop: CancellationToken) {
    let Some(redis) = tiers.redis().cloned() else { return };
    let work = async {
        let mut index = 0;
        loop {
            if let Ok(subscriber) = redis.subscribe(index).await {
                let was_subscribed = tiers.is_subscribed();
                receive(&tiers, subscriber).await;
                // Peers could not receive our invalidations while we were disconnected, and a peer that crashed may have lost
                // its own. Invalidate once more.
                if was_subscribed {
                    tiers.mark_pending();
                }
            } else {
                tokio::time::sleep(RECONNECT_DELAY).await;
            }
            index += 1;
        }
    };
    let _ = stop.run_until_cancelled(work).await;
}

async fn receive(tiers: &Tiers, subscriber: PubSub) {
    let mut messages = subscriber.into_on_message();
    tiers.invalidate_all_stored();
    while let Ok(Some(message)) = tokio::time::timeout(SILENCE_TIMEOUT, messages.next()).await {
        apply(tiers, &message);
        tiers.note_message();
    }
}

/// Ignores messages that it cannot parse: another version sent them.
fn apply(tiers: &Tiers, message: &Msg) {
    let Ok(text) = message.get_payload::<String>() else {
        return;
    };
    let mut words = text.split(' ');
    let (from, kind) = (words.next(), words.next());
    if from.and_then(|from| u64::from_str_radix(from, 16).ok()) == Some(tiers.instance()) {
        return;
    }
    if kind == Some("c") {
        tiers.note_refused();
        return;
    }
    let Some(class) = words.next().and_then(Class::of) else {
        return;
    };
    let Some(what) = words.next() else { return };
    let each = |act: &dyn Fn(&dyn super::tiers::LocalTier)| {
        tiers.each_local(|local| {
            if local.class() == class {
                act(local);
            }
        });
    };
    match kind {
        Some("k") => {
            let mut hash = [0; 32];
            if hex::decode_to_slice(what, &mut hash).is_ok() {
                each(&|local| local.forget_hash(hash));
            }
        }
        Some("p") if what == "*" => each(&|local| local.forget_all()),
        Some("p") => {
            if let Ok(organization) = what.parse::<uuid::Uuid>() {
                each(&|local| local.forget_organization(OrganizationId(organization)));
            }
        }
        _ => {}
    }
    if kind == Some("p")
        && !class.is_mutable()
        && let Some(token) = words.next().and_then(|token| u64::from_str_radix(token, 16).ok())
    {
        tiers.note_purge(token);
    }
}

/// Sends heartbeats, reads the epochs and delivers pending invalidations until `stop`. `token` returns random numbers.
pub async fn heartbeat(tiers: Tiers, token: impl Fn() -> u64 + Send, stop: CancellationToken) {
    let Some(redis) = tiers.redis().cloned() else { return };
    let heartbeat = format!("{:x} h", tiers.instance());
    let work = async {
        for index in 0.. {
            let refuses = redis.refuses_writes();
            if refuses {
                // Its present entries must be invalidated before Redis is trusted again.
                tiers.mark_pending();
            }
            let message = if refuses {
                tiers.refusal_message()
            } else {
                heartbeat.clone()
            };
            let message = [message];
            // The three run side by side, since any may be on a shard that hangs. An answering Redis may still refuse writes, so
            // a write is probed as well.
            let delivering = deliver_pending(&tiers, &redis, &token);
            let (_, (), _) = tokio::join!(redis.publish(&message), delivering, redis.probe_write(index));
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        }
    };
    let _ = stop.run_until_cancelled(work).await;
}

async fn deliver_pending(tiers: &Tiers, redis: &Redis, token: &impl Fn() -> u64) {
    if redis.refuses_writes() {
        return;
    }
    let Ok(seen) = look_at_server(tiers, redis).await else {
        return;
    };
    let server = seen.and_then(|(_, unknown)| unknown);
    if tiers.has_pending() || server.is_some() {
        let epoch = token();
        let mutable: Vec<_> = Class::ALL.into_iter().filter(|class| class.is_mutable()).collect();
        let mut ended: Vec<_> = mutable.iter().map(|class| (class.as_str(), epoch)).collect();
        ended.extend(server.map(|run| (SERVER, run)));
        // Cleared first, so that an invalidation that fails meanwhile stays pending.
        tiers.clear_pending();
        if redis.set_epochs(&ended).await.is_err() {
            tiers.mark_pending();
            return;
        }
        tracing::info!(target: "mapleai::cache", "Redis missed an invalidation; everything that may have changed is loaded anew");
    }
    if let Ok(epochs) = redis.epochs().await {
        if let Some((connection, _)) = seen {
            tiers.note_server_seen(connection);
        }
        let token_of = |name: &str| epochs.get(name).copied().unwrap_or(0);
        tiers.note_epochs(|class| token_of(class.as_str()));
        tiers.note_last_purge(token_of(LAST_PURGE));
    }
}

/// The unchecked connection, and the run id of its server if it differs from the run that wrote the epochs. A different run may
/// be a server restarted from an old snapshot, or a promoted replica that missed writes.
async fn look_at_server(tiers: &Tiers, redis: &Redis) -> Result<Option<(u64, Option<u64>)>, RedisError> {
    let Some(connection) = tiers.unseen_connection() else {
        return Ok(None);
    };
    let run = match redis.server_run().await {
        Ok(run) => run,
        // The command is forbidden, or the server does not know it.
        Err(RedisError::Command(_)) => None,
        Err(error) => return Err(error),
    };
    let stored = redis.epochs().await?.get(SERVER).copied();
    Ok(Some((connection, run.filter(|run| stored != Some(*run)))))
}
