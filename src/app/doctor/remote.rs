//! What the service talks to.

use std::{collections::BTreeMap, time::Instant};

use secrecy::SecretString;

use super::{Finding, fail, pass, warn};
use cache::redis::{Redis, RedisError};
use configuration::{AnswerCaching, Config, ProviderConfig};
use domain::clock::Clock;
use provider::Registry;
use store::{
    Database,
    diagnosis::{Diagnosis, safety::Safety},
    migrations,
};
use telemetry::error_chain;

const OLDEST: i32 = 140_000;
/// Seconds.
const SKEW_WARN: f64 = 1.0;
const SKEW_FAIL: f64 = 5.0;
const LAG_FAIL: f64 = 300.0;
const MIB: i64 = 1024 * 1024;
/// For one slot, in bytes, where nothing limits it.
const MUCH_KEPT: i64 = 10 * 1024 * MIB;

async fn diagnosis(config: &Config) -> Result<(String, Diagnosis), Finding> {
    let found = match Database::new(&config.database) {
        Ok(database) => database.diagnose().await.map(|found| (database.address(), found)),
        Err(error) => Err(error),
    };
    found.map_err(|error| {
        fail(
            error_chain(&error),
            "see database.url, and whether the server runs and lets this host in",
        )
    })
}

pub(super) async fn database(config: &Config) -> Finding {
    let (address, found) = match diagnosis(config).await {
        Ok(found) => found,
        Err(found) => return found,
    };
    let version = format!("{}.{}", found.version / 10_000, found.version % 10_000);
    let left = i64::from(found.max_connections) - found.connections;
    let finding = format!(
        "{address}, PostgreSQL {version}, {} of {} connections in use",
        found.connections, found.max_connections
    );
    if found.version < OLDEST {
        fail(finding, "PostgreSQL 14 or newer is needed")
    } else if found.is_replica || found.is_read_only {
        fail(
            format!("{finding}; it takes no writes"),
            "database.url must name the primary",
        )
    } else if left < i64::from(config.database.max_connections) {
        warn(
            finding,
            format!(
                "an instance takes up to {}: lower database.max_connections or raise the server's",
                config.database.max_connections
            ),
        )
    } else {
        pass(finding)
    }
}

/// Whether long statements are ended by the server, which a pooler between decides.
pub(super) async fn sessions(config: &Config) -> Finding {
    let look = match Database::new(&config.database) {
        Ok(database) => database.sessions().await,
        Err(error) => Err(error),
    };
    let wanted = config.database.statement_timeout;
    match look {
        Err(error) => warn(error_chain(&error), "the database must be reachable first"),
        Ok(found) if !found.shared => pass("sessions are the service's own; it sets its limits itself"),
        Ok(found) => {
            let finding = "a pooler in transaction mode is between";
            match found.statement_timeout {
                Some(limit) if limit <= wanted => pass(format!("{finding}; the role's statement_timeout is {limit:?}")),
                Some(limit) => warn(
                    format!("{finding}; the role's statement_timeout is {limit:?}, above database.statement_timeout"),
                    format!("ALTER ROLE … SET statement_timeout = '{}ms'", wanted.as_millis()),
                ),
                None => warn(
                    format!("{finding}, and the server ends no statement that takes too long"),
                    format!("ALTER ROLE … SET statement_timeout = '{}ms'", wanted.as_millis()),
                ),
            }
        }
    }
}

pub(super) async fn migrations(config: &Config) -> Finding {
    let look = match Database::new(&config.database) {
        Ok(database) => match migrations::pending(&database).await {
            Ok(pending) => migrations::indexes::left_broken(&database)
                .await
                .map(|broken| (pending, broken)),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match look {
        Ok((pending, broken)) if pending.is_empty() && !broken.is_empty() => fail(
            format!(
                "indexes that an interrupted migration left invalid: {}",
                broken.join(", ")
            ),
            "run `mapleai migrate`, which makes them anew",
        ),
        Ok((pending, _)) if pending.is_empty() => pass("all applied"),
        Ok((pending, _)) if !pending.changed.is_empty() => fail(
            format!("applied with other contents: {:?}", pending.changed),
            "this binary and the one that migrated do not belong together",
        ),
        Ok((pending, _)) => fail(format!("missing: {:?}", pending.missing), "run `mapleai migrate`"),
        Err(error) => fail(error_chain(&error), "the database must be reachable first"),
    }
}

pub(super) async fn clock(config: &Config) -> Finding {
    let asked = Instant::now();
    let Ok((_, found)) = diagnosis(config).await else {
        return warn("cannot be compared without the database", "");
    };
    // The server looked at its clock about half-way.
    let skew = (Clock::system().now() - found.now).as_seconds_f64() - asked.elapsed().as_secs_f64() / 2.0;
    let finding = format!("{skew:+.2} s against the database's");
    let advice = "run an NTP client on both";
    match skew.abs() {
        skew if skew > SKEW_FAIL => fail(finding, advice),
        skew if skew > SKEW_WARN => warn(finding, advice),
        _ => pass(finding),
    }
}

pub(super) async fn replica(config: &Config, url: &SecretString) -> Finding {
    let found = match Database::replica(&config.database, url) {
        Ok(database) => database.diagnose().await.map(|found| (database.address(), found)),
        Err(error) => Err(error),
    };
    let (address, found) = match found {
        Ok(found) => found,
        Err(error) => {
            return fail(
                error_chain(&error),
                "see its url, and whether the server runs and lets this host in",
            );
        }
    };
    if !found.is_replica {
        return warn(
            format!("{address} is a primary"),
            "it works, but takes no load off the primary",
        );
    }
    // After the replica: a copy has nothing newer then.
    let Ok((_, primary)) = diagnosis(config).await else {
        return warn(
            format!("{address}; how old it is cannot be told without the primary"),
            "",
        );
    };
    let bytes = primary.position - found.position;
    let Some(marker) = found.marker else {
        return warn(
            format!("{address}, {bytes} bytes behind; how old it is is not known, as it has no marker yet"),
            "the service writes one every 5 s: see whether it runs, and whether the replica receives the primary's changes",
        );
    };
    let age = (primary.now - marker).as_seconds_f64();
    let finding = format!("{address}, {bytes} bytes behind, its newest marker {age:.1} s old");
    let advice = "see whether it receives and replays the primary's changes; the primary is asked meanwhile";
    match age {
        age if age > LAG_FAIL => fail(finding, advice),
        age if age > config.database.replica_max_lag.as_secs_f64() => warn(finding, advice),
        _ => pass(finding),
    }
}

/// Copies that have gone, for which the primary keeps its log of changes until its disk is full.
pub(super) async fn slots(config: &Config) -> Finding {
    let found = match safety(config).await {
        Ok(found) => found,
        Err(finding) => return finding,
    };
    let of_gone: Vec<_> = found.slots.iter().filter(|slot| !slot.active).collect();
    let Some(largest) = of_gone.first() else {
        return pass(match found.slots.len() {
            0 => "none".to_owned(),
            count => format!("{count}, each with its copy connected"),
        });
    };
    let names: Vec<_> = of_gone.iter().map(|slot| slot.name.as_str()).collect();
    let bound = match found.max_kept {
        Some(bytes) => format!("at most {} MiB each", bytes / MIB),
        None => "without a limit".to_owned(),
    };
    let finding = format!(
        "{} MiB are kept for {}, whose copy is not connected, {bound} (not connected: {})",
        largest.kept / MIB,
        largest.name,
        names.join(", ")
    );
    let advice = "bring the copy back, or drop its slot (SELECT pg_drop_replication_slot('NAME')); max_slot_wal_keep_size limits what is kept";
    if found.max_kept.is_none() && largest.kept > MUCH_KEPT {
        fail(finding, advice)
    } else {
        warn(finding, advice)
    }
}

pub(super) async fn checksums(config: &Config) -> Finding {
    match safety(config).await {
        Ok(found) if found.has_checksums => pass("on"),
        Ok(_) if config.environment.is_development() => pass("off, which development can do with"),
        Ok(_) => warn(
            "off: a page that the disk gives back damaged is not noticed, and gets into every backup",
            "stop the server and run `pg_checksums --enable --pgdata FOLDER`, or make the next one with `initdb --data-checksums`",
        ),
        Err(finding) => finding,
    }
}

async fn safety(config: &Config) -> Result<Safety, Finding> {
    let found = match Database::new(&config.database) {
        Ok(database) => database.safety().await,
        Err(error) => Err(error),
    };
    found.map_err(|error| warn(error_chain(&error), "see the check of the database"))
}

pub(super) async fn redis(config: &Config) -> Finding {
    let redis = match Redis::configured(&config.redis) {
        Ok(Some(redis)) => redis,
        Ok(None) => return pass("none configured; caches stay in the process"),
        Err(error) => return fail(error_chain(&error), "see redis.url and redis.ca_file"),
    };
    let answer = match redis.ping().await {
        Ok(()) => redis.probe_write(0).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(()) => pass(redis.address()),
        Err(RedisError::Refuses(why)) => warn(
            format!("{}: it refuses writes: {why}", redis.address()),
            "nothing is shared by instances; see whether it is the primary, and its memory, replicas and disk",
        ),
        Err(error) => warn(
            format!("{}: {}", redis.address(), error_chain(&error)),
            "the service runs without it; see redis.url, and whether the server runs",
        ),
    }
}

/// By its list of models, which is free.
pub(super) async fn provider(name: &str, config: &ProviderConfig) -> Finding {
    let one = BTreeMap::from([(name.to_owned(), config.clone())]);
    let registry = match Registry::build(&one, &[], AnswerCaching::Off) {
        Ok(registry) => registry,
        Err(error) => return fail(error_chain(&error), "see its section"),
    };
    let Some(upstream) = registry.upstreams().first() else {
        return warn("is not set up", "");
    };
    if !upstream.capabilities.model_list {
        return pass("has no list of models, so that nothing was asked of it".to_owned());
    }
    match upstream.provider.list_models().await {
        Ok(models) => pass(format!("lists {} models", models.len())),
        Err(error) => fail(
            error_chain(&error),
            "see its base_url and api_key, and whether this host may reach it",
        ),
    }
}
