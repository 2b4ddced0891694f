//! `[providers.<name>]`: the upstreams.

mod defaults;
mod kind;
mod rules;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

pub use kind::ProviderKind;

use super::{
    load::schema::{
        DAY, Entries, Field, HOUR, Kind, MILLISECOND, MINUTE, Rule, is_visible_ascii, optional, preset, required,
    },
    models::{MODEL_ID, MODEL_NAME, PRICE},
};

/// Whether HTTP/2 is spoken to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Http2 {
    /// Where the server chooses it in the TLS handshake; HTTP/1.1 otherwise, and always without TLS.
    Auto,
    Off,
    /// From the first byte on, without asking: for servers that speak nothing else, with or without TLS.
    PriorKnowledge,
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
    /// Connections that are open at the same time, busy or not.
    #[serde(default = "defaults::connections")]
    pub max_connections: usize,
    #[serde(default = "defaults::http2")]
    pub http2: Http2,
    /// A proxy's URL, which may have a name and password, or `none`; by the process's environment if absent.
    #[serde(default)]
    pub proxy: Option<SecretString>,
    /// Whether streams are asked for their usage (`stream_options`) where the caller did not.
    #[serde(default = "defaults::usage_in_streams")]
    pub usage_in_streams: bool,
    /// Of listed models: patterns of those that are for embeddings. The built-in ones if absent.
    #[serde(default)]
    pub embedding_models: Option<Vec<String>>,
    /// Of listed models: patterns of those that are neither for chat nor for embeddings. The built-in ones if absent.
    #[serde(default)]
    pub skipped_models: Option<Vec<String>>,
    /// Local only, required there: where the process that runs the model tells how it is.
    #[serde(default)]
    pub state_file: Option<PathBuf>,
    /// Local only: the id of its model in the catalogue.
    #[serde(default)]
    pub model: Option<String>,
    /// Local only: the model's name for people.
    #[serde(default)]
    pub model_name: Option<String>,
    /// Local only: how long a call waits for a model that is being loaded.
    #[serde(with = "humantime_serde", default = "defaults::ready")]
    pub ready_timeout: Duration,
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
    required("kind", Kind::Choice(&ProviderKind::NAMES)),
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
    preset("discover_models", Kind::Flag, "false"),
    optional("discovered_input_price", PRICE),
    optional("discovered_output_price", PRICE),
    preset("discovered_free", Kind::Flag, "false"),
    preset("connect_timeout", Kind::Span(MILLISECOND, MINUTE), "5s"),
    preset("first_byte_timeout", Kind::Span(MILLISECOND, HOUR), "60s"),
    preset("first_content_timeout", Kind::Span(MILLISECOND, HOUR), "5m"),
    preset("chunk_timeout", Kind::Span(MILLISECOND, HOUR), "30s"),
    preset("whole_timeout", Kind::Span(MILLISECOND, DAY), "5m"),
    preset("total_timeout", Kind::Span(MILLISECOND, DAY), "10m"),
    preset("idle_timeout", Kind::Span(MILLISECOND, HOUR), "50s"),
    preset("max_connection_age", Kind::Span(MILLISECOND, DAY), "5m"),
    preset("max_connections", Kind::Number(1, 65_535), "4096"),
    preset("http2", Kind::Choice(&["auto", "off", "prior_knowledge"]), "auto"),
    optional(
        "proxy",
        Kind::Secret(Rule {
            allowed: "\"none\", or the http:// or https:// URL of a proxy, such as \"http://proxy.example:3128\"",
            holds: is_proxy,
        }),
    ),
    preset("usage_in_streams", Kind::Flag, "true"),
    optional("embedding_models", Kind::Texts(PATTERN)),
    optional("skipped_models", Kind::Texts(PATTERN)),
    optional(
        "state_file",
        Kind::Text(Rule {
            allowed: "the path of a file, such as \".local/model-state.json\"",
            holds: |path| !path.trim().is_empty() && !path.contains(char::is_control),
        }),
    ),
    optional("model", MODEL_ID),
    optional("model_name", MODEL_NAME),
    preset("ready_timeout", Kind::Span(Duration::ZERO, HOUR), "30s"),
    preset("first_token_delay", Kind::Span(Duration::ZERO, MINUTE), "250ms"),
    preset("token_delay", Kind::Span(Duration::ZERO, MINUTE), "25ms"),
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

fn is_proxy(text: &str) -> bool {
    let is_url = || {
        Url::parse(text).is_ok_and(|url| {
            let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
            matches!(url.scheme(), "http" | "https") && is_bare
        })
    };
    text == "none" || is_url()
}

fn is_free_header(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| !RESERVED_HEADERS.contains(&name.as_str()))
}
