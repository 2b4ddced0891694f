//! `[providers.<name>]` and `[[models]]`: the upstreams and the catalogue offered to callers.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

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
    #[serde(with = "humantime_serde", default = "default_connect")]
    pub connect_timeout: Duration,
    /// Until the response head and, in a stream, the first chunk.
    #[serde(with = "humantime_serde", default = "default_first_byte")]
    pub first_byte_timeout: Duration,
    /// Between two chunks.
    #[serde(with = "humantime_serde", default = "default_chunk")]
    pub chunk_timeout: Duration,
    /// The whole call.
    #[serde(with = "humantime_serde", default = "default_total")]
    pub total_timeout: Duration,
    /// Mock only: before the first token.
    #[serde(with = "humantime_serde", default = "default_first_token_delay")]
    pub first_token_delay: Duration,
    /// Mock only: between tokens.
    #[serde(with = "humantime_serde", default = "default_token_delay")]
    pub token_delay: Duration,
}

fn default_connect() -> Duration {
    Duration::from_secs(5)
}
fn default_first_byte() -> Duration {
    Duration::from_secs(60)
}
fn default_chunk() -> Duration {
    Duration::from_secs(30)
}
fn default_total() -> Duration {
    Duration::from_secs(600)
}
fn default_first_token_delay() -> Duration {
    Duration::from_millis(250)
}
fn default_token_delay() -> Duration {
    Duration::from_millis(25)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    Chat,
    Embedding,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// What callers ask for.
    pub id: String,
    /// A key of `providers`.
    pub provider: String,
    pub kind: ModelKind,
    /// What the provider calls it; the same as `id` if absent.
    #[serde(default)]
    pub upstream: Option<String>,
    /// For people; the same as `id` if absent.
    #[serde(default)]
    pub name: Option<String>,
    /// US dollars per million tokens, as a decimal string: `"2.50"`. Absent means free.
    #[serde(default)]
    pub input_price: Option<String>,
    #[serde(default)]
    pub output_price: Option<String>,
}
