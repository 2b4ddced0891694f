//! The catalogue: what callers may ask for.

use std::sync::Arc;

use super::money::{Cost, Price};
use super::tokens::TokenUsage;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelKind {
    Chat,
    Embedding,
}

impl ModelKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
        }
    }
}

/// One entry of the catalogue. Ids and provider names also serve as metric labels, so the catalogue's size bounds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What callers ask for.
    pub id: Arc<str>,
    /// For people.
    pub name: Arc<str>,
    pub kind: ModelKind,
    pub provider: Arc<str>,
    /// What the provider calls it.
    pub upstream: Arc<str>,
    pub input_price: Price,
    pub output_price: Price,
    pub caching: Caching,
}

/// Which answers of a model are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    All,
    /// To requests that ask for a repeatable answer, and embeddings.
    Deterministic,
    Off,
}

impl Model {
    pub fn cost(&self, usage: TokenUsage) -> Cost {
        self.input_price.of(usage.input) + self.output_price.of(usage.output)
    }
}
