//! `[server]`: the listener, its limits, and how clients reach it.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    pub host: IpAddr,
    /// 0 lets the system choose, which tests use.
    pub port: u16,
    /// How people reach the service; invitation links and cookie security follow from it.
    pub public_url: Url,
    /// Opens operator views. Absent means that nobody is an operator.
    #[serde(default)]
    pub ops_token: Option<SecretString>,
    /// Limit for everything but provider calls, which have their own.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// A client that has not sent its headers by then is cut off.
    #[serde(with = "humantime_serde")]
    pub header_read_timeout: Duration,
    /// Largest accepted request body, in bytes.
    pub body_limit: usize,
    /// Open connections beyond this wait in the kernel's backlog.
    pub max_connections: usize,
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
}
