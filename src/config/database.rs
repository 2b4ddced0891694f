//! `[database]` and `[redis]`: where state lives.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`; a secret, since it holds the password.
    pub url: SecretString,
    pub max_connections: u32,
    pub min_connections: u32,
    /// How long a request waits for a pooled connection before it is answered 503.
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
    /// PostgreSQL ends a statement that runs longer.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
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
