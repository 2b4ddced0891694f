//! How processes tell each other what is no longer so: one Redis channel.
//!
//! ```text
//! <instance> h                              a heartbeat: whoever hears none is deaf
//! <instance> c                              the same, of one that Redis refuses writes: nobody is to believe what it holds
//! <instance> k <class> <hash>               one entry
//! <instance> p <class> <organisation | *> <token>
//!                                           what an organisation, or everybody, has of a class
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
use crate::domain::ids::OrganizationId;

/// The field beside the epochs that says whose they are.
const SERVER: &str = "server";
/// Four in the time after which a process counts as deaf.
const BEAT_INTERVAL: Duration = Duration::from_millis(250);
/// Nothing heard for so long, not even ourselves: this connection is no good.
const SILENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);

/// Listens until told to stop.
pub async fn listen(tiers: Tiers, stop: CancellationToken) {
    let Some(redis) = tiers.redis().cloned() else { return };
    let work = async {
        let mut turn = 0;
        loop {
            if let Ok(subscriber) = redis.subscribe(turn).await {
                let was_deaf = !tiers.hears();
                hear(&tiers, subscriber).await;
                // Who heard us fall silent could not know what we did; who fell silent may have died owing.
                if !was_deaf {
                    tiers.owe();
                }
            } else {
                tokio::time::sleep(PAUSE).await;
            }
            turn += 1;
        }
    };
    let _ = stop.run_until_cancelled(work).await;
}

async fn hear(tiers: &Tiers, subscriber: PubSub) {
    let mut messages = subscriber.into_on_message();
    tiers.raise_floor();
    while let Ok(Some(message)) = tokio::time::timeout(SILENCE, messages.next()).await {
        obey(tiers, &message);
        tiers.note_heard();
    }
}

/// What cannot be read is another version's.
fn obey(tiers: &Tiers, message: &Msg) {
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
    let each = |act: &dyn Fn(&dyn super::tiers::Local)| {
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

/// Beats, reads the epochs, and pays what is owed, until told to stop. `token` gives random numbers.
pub async fn beat(tiers: Tiers, token: impl Fn() -> u64 + Send, stop: CancellationToken) {
    let Some(redis) = tiers.redis().cloned() else { return };
    let heartbeat = format!("{:x} h", tiers.instance());
    let work = async {
        for turn in 0.. {
            let refuses = redis.refuses_writes();
            if refuses {
                // Before it is believed again, what it held meanwhile is to be ended.
                tiers.owe();
            }
            let message = if refuses {
                tiers.refusal_message()
            } else {
                heartbeat.clone()
            };
            let message = [message];
            // None waits for the others: one may be on a shard that hangs. That Redis answers does not say that it takes what is
            // written, so that is tried as well.
            let settling = settle(&tiers, &redis, &token);
            let (_, (), _) = tokio::join!(redis.publish(&message), settling, redis.probe_write(turn));
            tokio::time::sleep(BEAT_INTERVAL).await;
        }
    };
    let _ = stop.run_until_cancelled(work).await;
}

async fn settle(tiers: &Tiers, redis: &Redis, token: &impl Fn() -> u64) {
    if redis.refuses_writes() {
        return;
    }
    let Ok(seen) = look_at_server(tiers, redis).await else {
        return;
    };
    let server = seen.and_then(|(_, unknown)| unknown);
    if tiers.owes() || server.is_some() {
        let epoch = token();
        let mutable: Vec<_> = Class::ALL.into_iter().filter(|class| class.is_mutable()).collect();
        let mut ended: Vec<_> = mutable.iter().map(|class| (class.as_str(), epoch)).collect();
        ended.extend(server.map(|run| (SERVER, run)));
        // Cleared first: what comes to be owed meanwhile stays owed.
        tiers.owe_no_more();
        if redis.set_epochs(&ended).await.is_err() {
            tiers.owe();
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

/// A connection that has not been looked at, and the run of the server behind it, unless it is the one whose epochs these are.
/// Another may have come back with what it had saved long ago, or be a replica that had not heard of everything.
async fn look_at_server(tiers: &Tiers, redis: &Redis) -> Result<Option<(u64, Option<u64>)>, RedisError> {
    let Some(connection) = tiers.unseen_connection() else {
        return Ok(None);
    };
    let run = match redis.server_run().await {
        Ok(run) => run,
        // It may not be asked, or is not that kind of server.
        Err(RedisError::Command(_)) => None,
        Err(error) => return Err(error),
    };
    let known = redis.epochs().await?.get(SERVER).copied();
    Ok(Some((connection, run.filter(|run| known != Some(*run)))))
}
