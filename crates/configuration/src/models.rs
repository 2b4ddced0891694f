//! `[[models]]`: the catalogue offered to callers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    cache::{ANSWERS, AnswerCaching},
    load::{
        check::Check,
        path::Path,
        schema::{Field, Kind, Rule, is_visible_ascii, optional, required},
    },
    providers::{ProviderConfig, is_provider_name},
};
use domain::money::Price;

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
    /// For input tokens that the provider had from earlier calls; `input_price` if absent.
    #[serde(default)]
    pub cached_input_price: Option<String>,
    #[serde(default)]
    pub output_price: Option<String>,
    /// Which of its answers are remembered; `cache.answers` if absent.
    #[serde(default)]
    pub cache: Option<AnswerCaching>,
}

pub(super) const PRICE: Kind = Kind::Text(Rule {
    allowed: "US dollars per million tokens as a decimal text of at most 6 digits before and 9 after the point, such as \"2.50\"",
    holds: |text| text.parse::<Price>().is_ok(),
});

pub(super) const MODEL_ID: Kind = Kind::Text(Rule {
    allowed: "1 to 128 visible ASCII characters without spaces",
    holds: is_model_id,
});

pub(super) const MODEL_NAME: Kind = Kind::Text(Rule {
    allowed: "1 to 128 characters without line ends",
    holds: |name| (1..=128).contains(&name.chars().count()) && !name.contains(char::is_control),
});

pub(super) const FIELDS: &[Field] = &[
    required("id", MODEL_ID),
    required(
        "provider",
        Kind::Text(Rule {
            allowed: "the name of one of providers",
            holds: is_provider_name,
        }),
    ),
    required("kind", Kind::Choice(&["chat", "embedding"])),
    optional("upstream", MODEL_ID),
    optional("name", MODEL_NAME),
    optional("input_price", PRICE),
    optional("cached_input_price", PRICE),
    optional("output_price", PRICE),
    optional("cache", ANSWERS),
];

fn is_model_id(id: &str) -> bool {
    id.len() <= 128 && is_visible_ascii(id)
}

/// Rules between the catalogue and the providers.
pub(super) fn validate(models: &[ModelConfig], providers: &BTreeMap<String, ProviderConfig>, check: &mut Check) {
    let mut ids = BTreeSet::new();
    for (at, model) in models.iter().enumerate() {
        let path = Path::from(["models"]).index(at);
        if !providers.contains_key(&model.provider) {
            let names: Vec<&str> = providers.keys().map(String::as_str).collect();
            let names = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            check.refuse(
                path.key("provider"),
                format!("must be the name of one of providers, which are {names}"),
            );
        }
        if !ids.insert(&model.id) {
            check.refuse(path.key("id"), "must be the only model of this id");
        }
    }
}
