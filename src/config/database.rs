//! `[database]` and `[redis]`: where state lives.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::load::{
    check::Check,
    schema::{Field, HOUR, Kind, MILLISECOND, MINUTE, Rule, number, optional, required, span},
};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`; a secret, since it holds the password.
    pub url: SecretString,
    /// Read replicas for analytics and for reports; absent means that there is none.
    #[serde(default)]
    pub analytics_url: Option<SecretString>,
    #[serde(default)]
    pub reporting_url: Option<SecretString>,
    pub max_connections: u32,
    pub min_connections: u32,
    /// How long a request waits for a pooled connection before it is answered 503.
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
    /// PostgreSQL ends a statement that runs longer.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// How long a started process waits for the database before it gives up.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    /// Apply migrations when the service starts; development only, elsewhere `mapleai migrate` does.
    pub migrate_on_start: bool,
}

/// Named now so that one environment serves all releases; the caches of the next release are its first user.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// `redis://host:port`; absent means that caches stay in the process.
    pub url: Option<SecretString>,
}

const POSTGRES: Rule = Rule {
    allowed: "a URL such as postgres://user:password@host:5432/database",
    holds: is_postgres,
};

pub(super) const FIELDS: &[Field] = &[
    required("url", Kind::SecretUrl(POSTGRES)),
    optional("analytics_url", Kind::SecretUrl(POSTGRES)),
    optional("reporting_url", Kind::SecretUrl(POSTGRES)),
    required("max_connections", number(1, 10_000)),
    required("min_connections", number(0, 10_000)),
    required("acquire_timeout", span(MILLISECOND, MINUTE)),
    required("statement_timeout", span(MILLISECOND, HOUR)),
    required("start_timeout", span(MILLISECOND, HOUR)),
    required("migrate_on_start", Kind::Flag),
];

pub(super) const REDIS_FIELDS: &[Field] = &[optional(
    "url",
    Kind::SecretUrl(Rule {
        allowed: "a URL such as redis://:password@host:6379 or rediss://host:6380",
        holds: is_redis,
    }),
)];

fn is_postgres(url: &str) -> bool {
    (url.starts_with("postgres://") || url.starts_with("postgresql://")) && !url.contains(char::is_whitespace)
}

fn is_redis(url: &str) -> bool {
    (url.starts_with("redis://") || url.starts_with("rediss://")) && !url.contains(char::is_whitespace)
}

impl DatabaseConfig {
    pub(super) fn validate(&self, check: &mut Check<'_>) {
        if self.min_connections > self.max_connections && !check.is_refused(["database", "max_connections"]) {
            check.refuse(
                ["database", "min_connections"],
                format!(
                    "must not be above database.max_connections, which is {}",
                    self.max_connections
                ),
            );
        }
        if self.migrate_on_start && !check.environment().is_development() {
            check.refuse(
                ["database", "migrate_on_start"],
                "must be false outside development, where instances would race; run `mapleai migrate` before a release",
            );
        }
    }
}
