//! `[auth]`: tokens, sessions, passwords and the sign-in throttle.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Key id (`kid`) -> HMAC secret. All verify; rotating means adding one and changing `active_key`.
    #[serde(default)]
    pub signing_keys: BTreeMap<String, SecretString>,
    /// The `kid` that signs new access tokens.
    pub active_key: String,
    #[serde(with = "humantime_serde")]
    pub access_token_ttl: Duration,
    #[serde(with = "humantime_serde")]
    pub session_ttl: Duration,
    /// How long a session or key look-up is believed; bounds how late a revocation elsewhere takes effect here.
    #[serde(with = "humantime_serde")]
    pub lookup_ttl: Duration,
    #[serde(with = "humantime_serde")]
    pub invitation_ttl: Duration,
    /// Whether anyone may register a new organisation.
    pub open_registration: bool,
    pub password_min_length: usize,
    /// Argon2 hashes computed at the same time; each takes `argon2_memory_kib`.
    pub password_hash_concurrency: usize,
    pub argon2_memory_kib: u32,
    pub argon2_iterations: u32,
    /// Failed sign-ins allowed per account and per address within `throttle_window`.
    pub throttle_per_account: u32,
    pub throttle_per_address: u32,
    #[serde(with = "humantime_serde")]
    pub throttle_window: Duration,
}
