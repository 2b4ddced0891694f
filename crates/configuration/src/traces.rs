//! `[traces]`: where spans go.

use serde::Deserialize;
use url::Url;

use super::load::schema::{Field, Kind, Rule, optional, required};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// An OTLP collector over HTTP; absent means that no spans are made.
    #[serde(default)]
    pub endpoint: Option<Url>,
    /// Of a hundred requests, so many are traced, whatever callers decided for theirs.
    pub sample_percent: u8,
}

pub(super) const FIELDS: &[Field] = &[
    optional(
        "endpoint",
        Kind::Url(Rule {
            allowed: "the base URL of an OTLP collector over HTTP, such as \"http://localhost:4318\"; TLS is a local collector's job",
            holds: |text| Url::parse(text).is_ok_and(|url| url.scheme() == "http" && url.has_host()),
        }),
    ),
    required("sample_percent", Kind::Number(0, 100)),
];
