//! The lists of models that products give, and what is taken of them.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{LeftOut, ListedModel, MAX_MODELS};
use domain::model::ModelKind;

/// OpenAI's list of models, as llama.cpp and vLLM give it.
#[derive(Deserialize)]
pub(super) struct OpenAiList {
    pub(super) data: Vec<OpenAiEntry>,
}

#[derive(Deserialize)]
pub(super) struct OpenAiEntry {
    id: String,
    #[serde(default)]
    pub(super) owned_by: Option<String>,
}

/// Ollama's `/api/tags`.
#[derive(Deserialize)]
pub(super) struct OllamaList {
    models: Vec<OllamaEntry>,
}

#[derive(Deserialize)]
pub(super) struct OllamaEntry {
    name: String,
    #[serde(default)]
    details: Map<String, Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// LM Studio's `/api/v0/models`, whose entries have fields that OpenAI's have not.
#[derive(Deserialize)]
pub(super) struct LmStudioList {
    data: Vec<LmStudioEntry>,
}

#[derive(Deserialize)]
pub(super) struct LmStudioEntry {
    id: String,
    /// `llm`, `vlm` or `embeddings`; others are neither for chat nor for embeddings.
    #[serde(rename = "type")]
    kind: String,
    /// `loaded` or `not-loaded`; one that is not is loaded when it is asked.
    state: String,
}

/// A model as any of the lists tells of it.
enum ListEntry {
    Here(ListedModel),
    Remote,
    Unusable,
}

impl OpenAiList {
    pub(super) fn is_owned_by(&self, owner: &str) -> bool {
        !self.data.is_empty() && self.data.iter().all(|entry| entry.owned_by.as_deref() == Some(owner))
    }

    pub(super) fn taken(self) -> (Vec<ListedModel>, LeftOut) {
        taken(self.data.into_iter().map(|entry| here(entry.id, None)))
    }
}

impl OllamaList {
    pub(super) fn taken(self) -> (Vec<ListedModel>, LeftOut) {
        taken(self.models.into_iter().map(|entry| {
            if entry.is_remote() {
                return ListEntry::Remote;
            }
            let family = entry.details.get("family").and_then(Value::as_str);
            let is_embedding = family.is_some_and(|family| family.contains("bert"));
            here(entry.name, is_embedding.then_some(ModelKind::Embedding))
        }))
    }
}

impl OllamaEntry {
    /// Its maker runs some models for it on servers of its own: their names end so, and they name where they run.
    fn is_remote(&self) -> bool {
        let name = self.name.to_ascii_lowercase();
        let names_a_place = |fields: &Map<String, Value>| {
            ["remote_host", "remote_model", "remote_url"]
                .iter()
                .filter_map(|field| fields.get(*field))
                .any(|place| !matches!(place, Value::Null | Value::Bool(false)) && place.as_str() != Some(""))
        };
        name.ends_with("-cloud")
            || name.ends_with(":cloud")
            || names_a_place(&self.rest)
            || names_a_place(&self.details)
    }
}

impl LmStudioList {
    /// Whether it is not another server's list of another shape.
    pub(super) fn is_genuine(&self) -> bool {
        let has_state = |entry: &LmStudioEntry| matches!(entry.state.as_str(), "loaded" | "not-loaded" | "loading");
        !self.data.is_empty() && self.data.iter().all(has_state)
    }

    pub(super) fn taken(self) -> (Vec<ListedModel>, LeftOut) {
        taken(self.data.into_iter().map(|entry| match entry.kind.as_str() {
            "llm" | "vlm" => here(entry.id, Some(ModelKind::Chat)),
            "embeddings" => here(entry.id, Some(ModelKind::Embedding)),
            _ => ListEntry::Unusable,
        }))
    }
}

fn here(id: String, kind: Option<ModelKind>) -> ListEntry {
    ListEntry::Here(ListedModel { id, kind })
}

fn taken(entries: impl Iterator<Item = ListEntry>) -> (Vec<ListedModel>, LeftOut) {
    let (mut models, mut left_out) = (Vec::new(), LeftOut::default());
    for entry in entries {
        match entry {
            ListEntry::Here(model) if models.len() < MAX_MODELS => models.push(model),
            ListEntry::Here(_) => left_out.beyond += 1,
            ListEntry::Remote => left_out.remote += 1,
            ListEntry::Unusable => left_out.unusable += 1,
        }
    }
    (models, left_out)
}
