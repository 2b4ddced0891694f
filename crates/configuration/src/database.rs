//! `[database]` and `[redis]`: where state lives.

use std::{path::PathBuf, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{
    Environment,
    load::{
        check::Check,
        schema::{DAY, Field, HOUR, Kind, MILLISECOND, MINUTE, Rule, SECOND, optional, required},
    },
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
    /// A replica whose newest marker is older is not asked.
    #[serde(with = "humantime_serde")]
    pub replica_max_lag: Duration,
    pub max_connections: u32,
    pub min_connections: u32,
    /// A pooled connection is closed when it is so old, or was idle so long.
    #[serde(with = "humantime_serde")]
    pub max_lifetime: Duration,
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long a request waits for a pooled connection before it is answered 503.
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
    /// The longest to open a connection, and to hear whether the database is there.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// PostgreSQL ends a statement that runs longer.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// How long a started process waits for the database before it gives up.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    /// `mapleai migrate` gives up after so long.
    #[serde(with = "humantime_serde")]
    pub migrate_timeout: Duration,
    /// Apply migrations when the service starts; development only, elsewhere `mapleai migrate` does.
    pub migrate_on_start: bool,
    /// Production may speak to a database that does not prove who it is, and in clear text where the URL says so.
    pub allow_unverified_tls: bool,
}

/// What the caches of all instances share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    pub mode: RedisMode,
    /// `redis://host:port`, or `rediss://` with TLS, for a cluster a comma-separated list; absent means that caches stay in the
    /// process.
    #[serde(default)]
    pub url: Option<SecretString>,
    /// Certificate authorities for `rediss://`, in PEM. Absent: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisMode {
    /// Caches stay in the process, whatever the URL says.
    None,
    Single,
    Cluster,
}

impl RedisConfig {
    /// Where it is, unless it is not to be used.
    pub fn in_use(&self) -> Option<&SecretString> {
        self.url.as_ref().filter(|_| self.mode != RedisMode::None)
    }

    pub(super) fn validate(&self, check: &mut Check) {
        let Some(url) = &self.url else {
            if self.mode == RedisMode::Cluster {
                check.refuse(
                    ["redis", "mode"],
                    "must not be \"cluster\" without redis.url, which names nodes of it",
                );
            }
            return;
        };
        if self.ca_file.is_some() && !url.expose_secret().starts_with("rediss://") {
            check.refuse(
                ["redis", "ca_file"],
                "must be absent where redis.url is not a rediss:// one: nothing would be checked by it",
            );
        }
        if self.mode == RedisMode::Single && url.expose_secret().contains(',') {
            check.refuse(
                ["redis", "mode"],
                "must be \"cluster\" where redis.url names more than one server",
            );
        }
    }
}

const POSTGRES: Rule = Rule {
    allowed: "a URL such as postgres://user:password@host:5432/database",
    holds: is_postgres,
};

pub(super) const FIELDS: &[Field] = &[
    required("url", Kind::SecretUrl(POSTGRES)),
    optional("analytics_url", Kind::SecretUrl(POSTGRES)),
    optional("reporting_url", Kind::SecretUrl(POSTGRES)),
    required("replica_max_lag", Kind::Span(SECOND, HOUR)),
    required("max_connections", Kind::Number(1, 10_000)),
    required("min_connections", Kind::Number(0, 10_000)),
    required("max_lifetime", Kind::Span(SECOND, DAY)),
    required("idle_timeout", Kind::Span(SECOND, DAY)),
    required("acquire_timeout", Kind::Span(MILLISECOND, MINUTE)),
    required("connect_timeout", Kind::Span(MILLISECOND, MINUTE)),
    required("statement_timeout", Kind::Span(MILLISECOND, HOUR)),
    required("start_timeout", Kind::Span(MILLISECOND, HOUR)),
    required("migrate_timeout", Kind::Span(SECOND, DAY)),
    required("migrate_on_start", Kind::Flag),
    required("allow_unverified_tls", Kind::Flag),
];

pub(super) const REDIS_FIELDS: &[Field] = &[
    required("mode", Kind::Choice(&["none", "single", "cluster"])),
    optional(
        "url",
        Kind::SecretUrl(Rule {
            allowed: "a URL such as redis://:password@host:6379 or rediss://…, for a cluster several, separated by commas",
            holds: is_redis,
        }),
    ),
    optional(
        "ca_file",
        Kind::Text(Rule {
            allowed: "the path of a PEM file, such as \"/etc/mapleai/redis-ca.pem\"",
            holds: |path| !path.trim().is_empty() && !path.contains(char::is_control),
        }),
    ),
];

fn is_postgres(url: &str) -> bool {
    (url.starts_with("postgres://") || url.starts_with("postgresql://"))
        && !url.contains(char::is_whitespace)
        && url::Url::parse(url).is_ok()
}

/// All with TLS or none: a cluster has it on every node.
fn is_redis(urls: &str) -> bool {
    let is_url = |url: &str, scheme: &str| {
        url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()) && url::Url::parse(url).is_ok()
    };
    !urls.contains(char::is_whitespace)
        && ["redis://", "rediss://"]
            .iter()
            .any(|scheme| urls.split(',').all(|url| is_url(url, scheme)))
}

impl DatabaseConfig {
    pub(super) fn validate(&self, check: &mut Check) {
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
        self.validate_transport(check);
    }

    /// With any other mode than `verify-full` whoever sits between may answer as the database: `require` encrypts to whoever
    /// is there (libpq's documentation, "SSL Support"). What does not leave the machine needs no proof.
    fn validate_transport(&self, check: &mut Check) {
        if check.environment() != Environment::Production || self.allow_unverified_tls {
            return;
        }
        let urls = [
            ("url", Some(&self.url)),
            ("analytics_url", self.analytics_url.as_ref()),
            ("reporting_url", self.reporting_url.as_ref()),
        ];
        for (key, url) in urls {
            let Some(url) = url else { continue };
            if !check.is_refused(["database", key]) && !is_verified_or_local(url.expose_secret()) {
                check.refuse(
                    ["database", key],
                    "must end in ?sslmode=verify-full (with &sslrootcert=/path/to/ca.pem where the authority is your own) in \
                     production, unless the server is on this machine or database.allow_unverified_tls is true",
                );
            }
        }
    }
}

/// Whether the server has to prove who it is, or is reached by a socket or over loopback.
fn is_verified_or_local(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    let parameter = |names: &[&str]| {
        // As the client reads them: the last one counts.
        let given = url.query_pairs().filter(|(name, _)| names.contains(&&**name));
        given.last().map(|(_, value)| value.into_owned())
    };
    if parameter(&["sslmode", "ssl-mode"]).is_some_and(|mode| mode.eq_ignore_ascii_case("verify-full")) {
        return true;
    }
    let host = parameter(&["host", "hostaddr"]).or_else(|| url.host_str().map(str::to_owned));
    host.is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.starts_with('/')
            || host.to_ascii_lowercase().starts_with("%2f")
            || host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}
