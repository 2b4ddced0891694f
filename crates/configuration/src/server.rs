//! `[server]`: the listener, its limits, and how clients reach it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::load::{
    check::Check,
    schema::{Field, HOUR, Kind, MILLISECOND, MINUTE, Rule, SECOND, is_visible_ascii, optional, required},
};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    pub host: IpAddr,
    /// 0 lets the system choose, which tests use.
    pub port: u16,
    /// How people reach the service: an origin. Invitation links and cookie security follow from it. In development it
    /// follows from `port` unless set.
    pub public_url: Url,
    /// Opens operator views. Absent means that nobody is an operator.
    #[serde(default)]
    pub ops_token: Option<SecretString>,
    /// Where operations listen: probes in full, metrics, the log's level. Absent means nowhere.
    #[serde(default)]
    pub ops_addr: Option<SocketAddr>,
    /// Whether `/metrics` is on the main listener as well.
    pub public_metrics: bool,
    /// How long readiness waits for caches to be filled.
    #[serde(with = "humantime_serde")]
    pub warmup_timeout: Duration,
    /// Limit for everything but provider calls, which have their own.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// A request's head has to come within this: of the first from the connection's start, of others from their first byte.
    #[serde(with = "humantime_serde")]
    pub header_read_timeout: Duration,
    /// A connection that is kept open is closed after one to two of these without a request.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// A request's body has to come within this.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Largest accepted request body, in bytes.
    pub body_limit: usize,
    /// Open connections. One beyond this takes the place of one that does nothing, or is answered 503.
    pub max_connections: usize,
    /// The same of one address that is no trusted proxy; absent means a tenth.
    #[serde(default)]
    pub max_connections_per_address: Option<usize>,
    /// Networks whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Origins that browsers may call from; `*` only in development.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// After a stop signal: how long to keep accepting, so that load balancers notice.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    /// After that: how long open requests and streams may take to finish.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// How long the platform waits after its signal before it kills the process; absent where nobody knows.
    #[serde(default, with = "humantime_serde::option")]
    pub termination_grace: Option<Duration>,
}

/// What may come after the drain, beside `usage.stop_timeout` for records: last words of streams, answers kept, pools. What stops the
/// server says that it keeps to it.
pub const AFTER_DRAIN: Duration = Duration::from_secs(32);

const TEN_MINUTES: Duration = Duration::from_mins(10);

/// Outside development, where a guessed token opens the operator's views to the world.
const OPS_TOKEN_LENGTH: usize = 32;

pub(super) const FIELDS: &[Field] = &[
    required(
        "host",
        Kind::Parsed(
            Rule {
                allowed: "an IP address, such as \"127.0.0.1\" or \"::\"",
                holds: |text| text.parse::<IpAddr>().is_ok(),
            },
            "127.0.0.1",
        ),
    ),
    required("port", Kind::Number(0, 65_535)),
    required(
        "public_url",
        Kind::Url(Rule {
            allowed: "an origin such as \"https://maple.example\"",
            holds: is_origin,
        }),
    ),
    optional(
        "ops_token",
        Kind::Secret(Rule {
            allowed: "visible ASCII characters without spaces or line ends",
            holds: is_visible_ascii,
        }),
    ),
    optional(
        "ops_addr",
        Kind::Parsed(
            Rule {
                allowed: "an address with a port, such as \"127.0.0.1:9464\" or \"[::]:9464\"",
                holds: |text| text.parse::<SocketAddr>().is_ok(),
            },
            "127.0.0.1:0",
        ),
    ),
    required("public_metrics", Kind::Flag),
    required("warmup_timeout", Kind::Span(MILLISECOND, HOUR)),
    required("request_timeout", Kind::Span(MILLISECOND, HOUR)),
    required("header_read_timeout", Kind::Span(MILLISECOND, MINUTE)),
    required("idle_timeout", Kind::Span(MILLISECOND, HOUR)),
    // The end of a credential is remembered for an hour, for calls whose bodies are still on their way.
    required("body_timeout", Kind::Span(SECOND, TEN_MINUTES)),
    required("body_limit", Kind::Number(1024, 256 * 1024 * 1024)),
    required("max_connections", Kind::Number(1, 1_000_000)),
    optional("max_connections_per_address", Kind::Number(1, 1_000_000)),
    optional("trusted_proxies", Kind::Networks),
    optional(
        "cors_origins",
        Kind::Texts(Rule {
            allowed: "an origin such as \"https://app.example\", or \"*\"",
            holds: is_origin_or_any,
        }),
    ),
    required("drain_delay", Kind::Span(Duration::ZERO, HOUR)),
    required("drain_timeout", Kind::Span(MILLISECOND, HOUR)),
    optional("termination_grace", Kind::Span(MILLISECOND, HOUR)),
];

/// `scheme://host` with a port where it is not the scheme's own, exactly as browsers send it; a final slash is let pass.
fn is_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    matches!(url.scheme(), "http" | "https")
        && url
            .origin()
            .ascii_serialization()
            .eq_ignore_ascii_case(text.strip_suffix('/').unwrap_or(text))
}

/// No slash here: the text is compared with a header.
fn is_origin_or_any(text: &str) -> bool {
    text == "*" || (!text.ends_with('/') && !text.contains(char::is_uppercase) && is_origin(text))
}

impl ServerConfig {
    /// From the signal to the end, at most.
    pub fn longest_stop(&self, records: Duration) -> Duration {
        self.drain_delay + self.drain_timeout + records + AFTER_DRAIN
    }

    /// `records` is how long a process that stops tries to bring records to the database.
    pub(super) fn validate(&self, records: Duration, check: &mut Check) {
        let needed = self.longest_stop(records);
        if let Some(grace) = self.termination_grace
            && grace < needed
        {
            check.refuse(
                ["server", "termination_grace"],
                format!(
                    "must be at least {needed:?}: drain_delay, drain_timeout, usage.stop_timeout, and {AFTER_DRAIN:?} for what comes after; raise the platform's, or lower those"
                ),
            );
        }
        let environment = check.environment();
        if environment.is_development() {
            return;
        }
        let name = environment.as_str();
        if environment == super::Environment::Production && self.public_url.scheme() != "https" {
            check.refuse(["server", "public_url"], "must start with https:// in production");
        }
        if self.public_metrics {
            check.refuse(
                ["server", "public_metrics"],
                format!("must be false in {name}: metrics are for server.ops_addr, which the world does not reach"),
            );
        }
        if self
            .ops_token
            .as_ref()
            .is_some_and(|token| token.expose_secret().len() < OPS_TOKEN_LENGTH)
        {
            check.refuse(
                ["server", "ops_token"],
                format!("must have at least {OPS_TOKEN_LENGTH} characters in {name}"),
            );
        }
        if self.cors_origins.iter().any(|origin| origin == "*") {
            check.refuse(
                ["server", "cors_origins"],
                format!("must list single origins in {name}; \"*\" is for development"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_origin, is_origin_or_any};

    #[test]
    fn origins() {
        for good in [
            "https://maple.example",
            "http://localhost:3000",
            "https://maple.example:8443",
            "http://[::1]:3000",
        ] {
            assert!(is_origin(good) && is_origin_or_any(good), "{good}");
        }
        assert!(is_origin("https://maple.example/"));
        for bad in [
            "maple.example",
            "ftp://maple.example",
            "https://maple.example/app",
            "https://user@maple.example",
            "https://maple.example?a=b",
            "https://maple.example:443",
            "https://",
            "",
            "null",
        ] {
            assert!(!is_origin(bad) && !is_origin_or_any(bad), "{bad}");
        }
        assert!(!is_origin_or_any("https://maple.example/") && !is_origin_or_any("https://Maple.example"));
    }
}
