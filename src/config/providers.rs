//! `[providers.<name>]`: the upstreams.

mod defaults;

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    load::{
        check::Check,
        path::Path,
        schema::{
            DAY, Entries, Field, HOUR, Kind, MILLISECOND, MINUTE, Preset, Rule, is_visible_ascii, optional, preset,
            required, span,
        },
    },
    models::PRICE,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Any server that speaks the OpenAI API.
    Openai,
    /// Deterministic answers without a network; refused outside development.
    Mock,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    pub kind: ProviderKind,
    /// Up to and including the version segment, such as `https://api.openai.com/v1`. Required for `openai`.
    #[serde(default)]
    pub base_url: Option<Url>,
    /// Sent as `Authorization: Bearer`.
    #[serde(default)]
    pub api_key: Option<SecretString>,
    /// More request headers; values are secrets, since gateways put keys here.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
    /// Add the server's own model list to the catalogue at start.
    #[serde(default)]
    pub discover_models: bool,
    /// US dollars per million tokens of the models that the server lists; absent means free.
    #[serde(default)]
    pub discovered_input_price: Option<String>,
    #[serde(default)]
    pub discovered_output_price: Option<String>,
    /// That they cost nothing is meant so. Outside development they need this or prices.
    #[serde(default)]
    pub discovered_free: bool,
    #[serde(with = "humantime_serde", default = "defaults::connect")]
    pub connect_timeout: Duration,
    /// Of a stream: until the response head, and the first byte of its body.
    #[serde(with = "humantime_serde", default = "defaults::first_byte")]
    pub first_byte_timeout: Duration,
    /// Of a stream that has shown a sign of life: until the first text of its answer.
    #[serde(with = "humantime_serde", default = "defaults::first_content")]
    pub first_content_timeout: Duration,
    /// Between two chunks, once there has been text.
    #[serde(with = "humantime_serde", default = "defaults::chunk")]
    pub chunk_timeout: Duration,
    /// An answer that is not streamed.
    #[serde(with = "humantime_serde", default = "defaults::whole")]
    pub whole_timeout: Duration,
    /// The whole call.
    #[serde(with = "humantime_serde", default = "defaults::total")]
    pub total_timeout: Duration,
    /// An unused connection is closed after so long.
    #[serde(with = "humantime_serde", default = "defaults::idle")]
    pub idle_timeout: Duration,
    /// A connection that is older takes no further request.
    #[serde(with = "humantime_serde", default = "defaults::connection_age")]
    pub max_connection_age: Duration,
    /// Whether streams are asked for their usage (`stream_options`) where the caller did not.
    #[serde(default = "defaults::usage_in_streams")]
    pub usage_in_streams: bool,
    /// Of listed models: patterns of those that are for embeddings. The built-in ones if absent.
    #[serde(default)]
    pub embedding_models: Option<Vec<String>>,
    /// Of listed models: patterns of those that are neither for chat nor for embeddings. The built-in ones if absent.
    #[serde(default)]
    pub skipped_models: Option<Vec<String>>,
    /// Mock only: before the first token.
    #[serde(with = "humantime_serde", default = "defaults::first_token_delay")]
    pub first_token_delay: Duration,
    /// Mock only: between tokens.
    #[serde(with = "humantime_serde", default = "defaults::token_delay")]
    pub token_delay: Duration,
}

/// What the client sets itself; a second one would break requests or leak them.
const RESERVED_HEADERS: [&str; 9] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

pub(super) const FIELDS: &Entries = &Entries {
    key: Rule {
        allowed: "1 to 64 of the characters a-z 0-9 - _",
        holds: is_provider_name,
    },
    item: Kind::Section(PROVIDER_FIELDS),
    from_variable: |name| name,
};

const PROVIDER_FIELDS: &[Field] = &[
    required("kind", Kind::Choice(&["openai", "mock"])),
    optional(
        "base_url",
        Kind::Url(Rule {
            allowed: "an http:// or https:// URL without credentials, query or fragment, such as \"https://api.openai.com/v1\"",
            holds: is_base_url,
        }),
    ),
    optional(
        "api_key",
        Kind::Secret(Rule {
            allowed: "visible ASCII characters without spaces or line ends",
            holds: is_visible_ascii,
        }),
    ),
    optional(
        "headers",
        Kind::Map(&Entries {
            key: Rule {
                allowed: "that of an HTTP header that requests do not set themselves",
                holds: is_free_header,
            },
            item: Kind::Secret(Rule {
                allowed: "visible ASCII characters and spaces",
                holds: |text| HeaderValue::from_str(text).is_ok_and(|value| value.to_str().is_ok()),
            }),
            // Variables cannot hold `-`, and headers with `_` are dropped by many servers.
            from_variable: |name| name.replace('_', "-"),
        }),
    ),
    preset("discover_models", Kind::Flag, Preset::Flag(false)),
    optional("discovered_input_price", PRICE),
    optional("discovered_output_price", PRICE),
    preset("discovered_free", Kind::Flag, Preset::Flag(false)),
    preset("connect_timeout", span(MILLISECOND, MINUTE), Preset::Text("5s")),
    preset("first_byte_timeout", span(MILLISECOND, HOUR), Preset::Text("60s")),
    preset("first_content_timeout", span(MILLISECOND, HOUR), Preset::Text("5m")),
    preset("chunk_timeout", span(MILLISECOND, HOUR), Preset::Text("30s")),
    preset("whole_timeout", span(MILLISECOND, DAY), Preset::Text("5m")),
    preset("total_timeout", span(MILLISECOND, DAY), Preset::Text("10m")),
    preset("idle_timeout", span(MILLISECOND, HOUR), Preset::Text("50s")),
    preset("max_connection_age", span(MILLISECOND, DAY), Preset::Text("5m")),
    preset("usage_in_streams", Kind::Flag, Preset::Flag(true)),
    optional("embedding_models", Kind::Texts(PATTERN)),
    optional("skipped_models", Kind::Texts(PATTERN)),
    preset("first_token_delay", span(Duration::ZERO, MINUTE), Preset::Text("250ms")),
    preset("token_delay", span(Duration::ZERO, MINUTE), Preset::Text("25ms")),
];

const PATTERN: Rule = Rule {
    allowed: "1 to 128 visible ASCII characters, of which * stands for any others",
    holds: |text| text.len() <= 128 && is_visible_ascii(text),
};

pub(super) fn is_provider_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_base_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

fn is_free_header(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| !RESERVED_HEADERS.contains(&name.as_str()))
}

impl ProviderConfig {
    pub(super) fn validate(&self, path: &Path, check: &mut Check<'_>) {
        if check.is_refused(path.key("kind")) {
            return;
        }
        if self.kind == ProviderKind::Mock && !check.environment().is_development() {
            let name = check.environment().as_str();
            check.refuse(
                path.key("kind"),
                format!("must be \"openai\" in {name}; \"mock\" is for development"),
            );
        }
        if self.kind == ProviderKind::Openai && self.base_url.is_none() {
            check.refuse(
                path.key("base_url"),
                "missing; a provider of kind \"openai\" must have one, such as \"https://api.openai.com/v1\"",
            );
        }
        self.validate_discovery(path, check);
    }

    /// Calls to a model without a price are recorded at nothing, whatever the provider asks for them.
    fn validate_discovery(&self, path: &Path, check: &mut Check<'_>) {
        let prices = [&self.discovered_input_price, &self.discovered_output_price];
        let (any, all) = (
            prices.iter().any(|price| price.is_some()),
            prices.iter().all(|price| price.is_some()),
        );
        if any && self.discovered_free {
            check.refuse(
                path.key("discovered_free"),
                "must not be true beside discovered_input_price or discovered_output_price",
            );
        }
        if self.discover_models && !all && !self.discovered_free && !check.environment().is_development() {
            let name = check.environment().as_str();
            check.refuse(
                path.key("discover_models"),
                format!(
                    "must go with both discovered_input_price and discovered_output_price in {name}, or with \
                     discovered_free = true if they cost nothing; or name the models under [[models]] with their prices"
                ),
            );
        }
    }
}
