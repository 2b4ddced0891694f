//! `[auth]`: tokens, sessions, passwords and the sign-in throttle.

use std::{collections::BTreeMap, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::load::{
    check::Check,
    path::Path,
    schema::{DAY, Entries, Field, Kind, MILLISECOND, MINUTE, Rule, SECOND, required},
};

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
    /// How long a password that was given counts for what asks for it again.
    #[serde(with = "humantime_serde")]
    pub confirmation_ttl: Duration,
    /// Whether anyone may register a new organisation.
    pub open_registration: bool,
    pub password_min_length: usize,
    /// Argon2 hashes computed at the same time; each takes `argon2_memory_kib`.
    pub password_hash_concurrency: usize,
    pub argon2_memory_kib: u32,
    pub argon2_iterations: u32,
    /// Failed sign-ins per account and network, and per network, within `throttle_window`, before each further costs a wait.
    pub throttle_per_account: u32,
    pub throttle_per_address: u32,
    #[serde(with = "humantime_serde")]
    pub throttle_window: Duration,
    /// Sign-ins from one network in a minute, good ones included.
    pub throttle_sign_ins: u32,
}

/// How the signing keys of `config/development.toml` begin. They are in the repository, so that anybody can sign with them.
const PUBLIC_KEY_PREFIX: &str = "maple-development-";

/// The least that OWASP recommends with several iterations. Development may go lower, to make tests quick.
const ARGON2_MEMORY_KIB: u32 = 7 * 1024;

pub(super) const FIELDS: &[Field] = &[
    required(
        "signing_keys",
        Kind::Map(&Entries {
            key: Rule {
                allowed: "1 to 64 of the characters a-z A-Z 0-9 - _",
                holds: is_key_id,
            },
            item: Kind::Secret(Rule {
                allowed: "at least 32 bytes long",
                holds: |secret| secret.len() >= 32,
            }),
            from_variable: |name| name,
        }),
    ),
    required(
        "active_key",
        Kind::Text(Rule {
            allowed: "the name of one of auth.signing_keys",
            holds: is_key_id,
        }),
    ),
    required("access_token_ttl", Kind::Span(SECOND, DAY)),
    required("session_ttl", Kind::Span(SECOND, DAY.saturating_mul(90))),
    required("lookup_ttl", Kind::Span(SECOND, SECOND.saturating_mul(5))),
    required("invitation_ttl", Kind::Span(MINUTE, DAY.saturating_mul(90))),
    required("confirmation_ttl", Kind::Span(SECOND, DAY)),
    required("open_registration", Kind::Flag),
    required("password_min_length", Kind::Number(8, 128)),
    required("password_hash_concurrency", Kind::Number(1, 64)),
    required("argon2_memory_kib", Kind::Number(8, 1024 * 1024)),
    required("argon2_iterations", Kind::Number(1, 100)),
    required("throttle_per_account", Kind::Number(1, 1_000_000)),
    required("throttle_per_address", Kind::Number(1, 1_000_000)),
    required("throttle_window", Kind::Span(MILLISECOND, DAY)),
    required("throttle_sign_ins", Kind::Number(1, 1_000_000)),
];

fn is_key_id(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl AuthConfig {
    pub(super) fn validate(&self, check: &mut Check) {
        self.validate_keys(check);
        if self.session_ttl < self.access_token_ttl && !check.is_refused(["auth", "access_token_ttl"]) {
            check.refuse(
                ["auth", "session_ttl"],
                "must not be shorter than auth.access_token_ttl",
            );
        }
        if !check.environment().is_development() && self.argon2_memory_kib < ARGON2_MEMORY_KIB {
            check.refuse(
                ["auth", "argon2_memory_kib"],
                format!("must be at least {ARGON2_MEMORY_KIB} outside development"),
            );
        }
    }

    fn validate_keys(&self, check: &mut Check) {
        let keys = Path::from(["auth", "signing_keys"]);
        if self.signing_keys.is_empty() {
            check.refuse(
                keys,
                "must have at least one key; set MAPLE__AUTH__SIGNING_KEYS__<NAME>",
            );
            return;
        }
        if !self.signing_keys.contains_key(&self.active_key) {
            let names: Vec<&str> = self.signing_keys.keys().map(String::as_str).collect();
            check.refuse(
                ["auth", "active_key"],
                format!(
                    "must be the name of one of auth.signing_keys, which are {}; names from variables are lower case",
                    names.join(", ")
                ),
            );
        }
        if check.environment().is_development() {
            return;
        }
        for (name, secret) in &self.signing_keys {
            if secret.expose_secret().starts_with(PUBLIC_KEY_PREFIX) {
                check.refuse(
                    keys.key(name),
                    "must not be the development key, which is public; make one with `openssl rand -base64 48`",
                );
            }
        }
    }
}
