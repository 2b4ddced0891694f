//! Where calls of a model go.

use std::sync::Arc;

use super::Upstream;
use domain::model::Model;

/// A model and who answers for it.
#[derive(Clone)]
pub struct Route {
    pub model: Arc<Model>,
    pub upstream: Arc<Upstream>,
    identity: [u8; 16],
}

impl Route {
    pub fn new(model: Arc<Model>, upstream: Arc<Upstream>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [&*model.provider, &*upstream.address, &*model.upstream] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut identity = [0; 16];
        hasher.finalize_xof().fill(&mut identity);
        Self {
            model,
            upstream,
            identity,
        }
    }

    /// Tells who answers apart in cache keys: by the provider's name and address, and the model's name there. Holds no secret.
    pub fn identity(&self) -> [u8; 16] {
        self.identity
    }
}

#[cfg(test)]
mod tests {
    use super::Route;
    use crate::registry::Registry;
    use configuration::{AnswerCaching, ModelConfig, ProviderConfig, ProviderKind};

    /// The route to a model that a provider of this name at this address calls so.
    fn route(provider: &str, address: &str, upstream: &str) -> Route {
        let mut config = ProviderConfig::new(ProviderKind::Openai);
        config.base_url = Some(address.parse().unwrap());
        let model: ModelConfig = serde_json::from_value(serde_json::json!({
            "id": "m", "provider": provider, "upstream": upstream, "kind": "chat", "input_price": "1", "output_price": "1"
        }))
        .unwrap();
        let providers = std::iter::once((provider.to_owned(), config)).collect();
        let registry = Registry::build(&providers, &[model], AnswerCaching::Off).unwrap();
        registry.route("m").unwrap().clone()
    }

    #[test]
    fn who_answers_is_told_apart_by_provider_address_and_name_there() {
        let one = route("a", "http://one.example/v1", "x");
        assert_eq!(one.identity(), route("a", "http://one.example/v1", "x").identity());
        let others = [
            route("b", "http://one.example/v1", "x"),
            route("a", "http://two.example/v1", "x"),
            route("a", "http://one.example/v1", "y"),
        ];
        for other in others {
            assert_ne!(one.identity(), other.identity());
        }
    }
}
