//! What the service talks to.

use std::{collections::BTreeMap, time::Instant};

use secrecy::SecretString;

use super::{Found, doubtful, ill, well};
use cache::redis::{Redis, RedisError};
use configuration::{AnswerCaching, Config, ProviderConfig};
use domain::clock::Clock;
use provider::Registry;
use store::{Database, diagnosis::Diagnosis, migrations};
use telemetry::error_chain as told;

const OLDEST: i32 = 140_000;
/// Seconds.
const SKEW_WARN: f64 = 1.0;
const SKEW_FAIL: f64 = 5.0;
const LAG_WARN: f64 = 10.0;
const LAG_FAIL: f64 = 300.0;

async fn diagnosis(config: &Config) -> Result<(String, Diagnosis), Found> {
    let found = match Database::new(&config.database) {
        Ok(database) => database.diagnose().await.map(|found| (database.address(), found)),
        Err(error) => Err(error),
    };
    found.map_err(|error| {
        ill(
            told(&error),
            "see database.url, and whether the server runs and lets this host in",
        )
    })
}

pub(super) async fn database(config: &Config) -> Found {
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
        ill(finding, "PostgreSQL 14 or newer is needed")
    } else if found.is_replica || found.is_read_only {
        ill(
            format!("{finding}; it takes no writes"),
            "database.url must name the primary",
        )
    } else if left < i64::from(config.database.max_connections) {
        doubtful(
            finding,
            format!(
                "an instance takes up to {}: lower database.max_connections or raise the server's",
                config.database.max_connections
            ),
        )
    } else {
        well(finding)
    }
}

/// Whether long statements are ended by the server, which a pooler between decides.
pub(super) async fn sessions(config: &Config) -> Found {
    let look = match Database::new(&config.database) {
        Ok(database) => database.sessions().await,
        Err(error) => Err(error),
    };
    let wanted = config.database.statement_timeout;
    match look {
        Err(error) => doubtful(told(&error), "the database must be reachable first"),
        Ok(found) if !found.shared => well("sessions are the service's own; it sets its limits itself"),
        Ok(found) => {
            let finding = "a pooler in transaction mode is between";
            match found.statement_timeout {
                Some(limit) if limit <= wanted => well(format!("{finding}; the role's statement_timeout is {limit:?}")),
                Some(limit) => doubtful(
                    format!("{finding}; the role's statement_timeout is {limit:?}, above database.statement_timeout"),
                    format!("ALTER ROLE … SET statement_timeout = '{}ms'", wanted.as_millis()),
                ),
                None => doubtful(
                    format!("{finding}, and the server ends no statement that takes too long"),
                    format!("ALTER ROLE … SET statement_timeout = '{}ms'", wanted.as_millis()),
                ),
            }
        }
    }
}

pub(super) async fn migrations(config: &Config) -> Found {
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
        Ok((pending, broken)) if pending.is_empty() && !broken.is_empty() => ill(
            format!(
                "indexes that an interrupted migration left invalid: {}",
                broken.join(", ")
            ),
            "run `mapleai migrate`, which makes them anew",
        ),
        Ok((pending, _)) if pending.is_empty() => well("all applied"),
        Ok((pending, _)) if !pending.changed.is_empty() => ill(
            format!("applied with other contents: {:?}", pending.changed),
            "this binary and the one that migrated do not belong together",
        ),
        Ok((pending, _)) => ill(format!("missing: {:?}", pending.missing), "run `mapleai migrate`"),
        Err(error) => ill(told(&error), "the database must be reachable first"),
    }
}

pub(super) async fn clock(config: &Config) -> Found {
    let asked = Instant::now();
    let Ok((_, found)) = diagnosis(config).await else {
        return doubtful("cannot be compared without the database", "");
    };
    // The server looked at its clock about half-way.
    let skew = (Clock::system().now() - found.now).as_seconds_f64() - asked.elapsed().as_secs_f64() / 2.0;
    let finding = format!("{skew:+.2} s against the database's");
    let advice = "run an NTP client on both";
    match skew.abs() {
        skew if skew > SKEW_FAIL => ill(finding, advice),
        skew if skew > SKEW_WARN => doubtful(finding, advice),
        _ => well(finding),
    }
}

pub(super) async fn replica(config: &Config, url: &SecretString) -> Found {
    let found = match Database::replica(&config.database, url) {
        Ok(database) => database.diagnose().await.map(|found| (database.address(), found)),
        Err(error) => Err(error),
    };
    let (address, found) = match found {
        Ok(found) => found,
        Err(error) => {
            return ill(
                told(&error),
                "see its url, and whether the server runs and lets this host in",
            );
        }
    };
    if !found.is_replica {
        return doubtful(
            format!("{address} is a primary"),
            "it works, but takes no load off the primary",
        );
    }
    let lag = found.lag_seconds.unwrap_or(f64::INFINITY);
    let finding = format!("{address}, {lag:.1} s behind");
    match lag {
        lag if lag > LAG_FAIL => ill(finding, "see whether it receives and replays the primary's changes"),
        lag if lag > LAG_WARN => doubtful(finding, "reports are that old"),
        _ => well(finding),
    }
}

pub(super) async fn redis(config: &Config) -> Found {
    let redis = match Redis::configured(&config.redis) {
        Ok(Some(redis)) => redis,
        Ok(None) => return well("none configured; caches stay in the process"),
        Err(error) => return ill(told(&error), "see redis.url and redis.ca_file"),
    };
    let answer = match redis.ping().await {
        Ok(()) => redis.probe_write(0).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(()) => well(redis.address()),
        Err(RedisError::Refuses(why)) => doubtful(
            format!("{}: it refuses writes: {why}", redis.address()),
            "nothing is shared by instances; see whether it is the primary, and its memory, replicas and disk",
        ),
        Err(error) => doubtful(
            format!("{}: {}", redis.address(), told(&error)),
            "the service runs without it; see redis.url, and whether the server runs",
        ),
    }
}

/// By its list of models, which is free.
pub(super) async fn provider(name: &str, config: &ProviderConfig) -> Found {
    let one = BTreeMap::from([(name.to_owned(), config.clone())]);
    let registry = match Registry::build(&one, &[], AnswerCaching::Off) {
        Ok(registry) => registry,
        Err(error) => return ill(told(&error), "see its section"),
    };
    let Some(upstream) = registry.upstreams().first() else {
        return doubtful("is not set up", "");
    };
    match upstream.provider.list_models().await {
        Ok(models) => well(format!("lists {} models", models.len())),
        Err(error) => ill(
            told(&error),
            "see its base_url and api_key, and whether this host may reach it",
        ),
    }
}
