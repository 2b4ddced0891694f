//! Which provider answers for which model.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;

use super::{Provider, mock::MockProvider, openai::OpenAiProvider, outcomes::Outcomes};
use crate::{
    config::{self, AnswerCaching, ModelConfig, ProviderConfig, ProviderKind},
    domain::{
        model::{Caching, Model, ModelKind},
        money::{InvalidPrice, Price},
    },
};

/// A provider's model list is waited for at start for no longer.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(3);
/// Models taken over from one provider; each is a set of metric series.
const MOST_DISCOVERED: usize = 500;

/// Why the catalogue cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProviderSetupError {
    #[error("providers.{0}.base_url is missing")]
    NoBaseUrl(String),
    #[error("providers.{name}: {what} is not valid")]
    Invalid { name: String, what: &'static str },
    #[error("no TLS roots could be loaded")]
    Tls(#[source] std::io::Error),
    #[error("model {model:?} names provider {provider:?}, which is not configured")]
    UnknownProvider { model: String, provider: String },
    #[error("model {model:?}")]
    Price {
        model: String,
        #[source]
        source: InvalidPrice,
    },
}

/// A model and who answers for it.
#[derive(Clone)]
pub struct Route {
    pub model: Arc<Model>,
    pub upstream: Arc<Upstream>,
}

/// A provider and how its calls have gone lately.
pub struct Upstream {
    pub provider: Box<dyn Provider>,
    pub outcomes: Outcomes,
    /// Tells servers apart that have, or had, the same name in the configuration. Holds no secret.
    pub identity: Box<str>,
}

/// The catalogue.
pub struct Registry {
    routes: HashMap<Arc<str>, Route>,
    /// For listing.
    sorted: Vec<Arc<str>>,
    /// Sorted by name.
    upstreams: Vec<Arc<Upstream>>,
    discovering: Vec<Arc<Upstream>>,
    /// For models that say nothing themselves.
    caching: Caching,
}

impl Registry {
    pub fn build(
        providers: &BTreeMap<String, ProviderConfig>,
        models: &[ModelConfig],
        caching: AnswerCaching,
    ) -> Result<Self, ProviderSetupError> {
        let mut by_name: BTreeMap<&str, Arc<Upstream>> = BTreeMap::new();
        let mut discovering = Vec::new();
        for (name, config) in providers {
            let provider: Box<dyn Provider> = match config.kind {
                ProviderKind::Openai => Box::new(OpenAiProvider::new(name, config)?),
                ProviderKind::Mock => Box::new(MockProvider::new(name, config)),
            };
            let upstream = Arc::new(Upstream {
                provider,
                outcomes: Outcomes::default(),
                identity: config.base_url.as_ref().map_or("mock", |url| url.as_str()).into(),
            });
            if config.discover_models {
                discovering.push(Arc::clone(&upstream));
            }
            by_name.insert(name, upstream);
        }
        let mut registry = Self {
            routes: HashMap::new(),
            sorted: Vec::new(),
            upstreams: by_name.values().cloned().collect(),
            discovering,
            caching: caching_of(caching),
        };
        for model in models {
            let upstream = by_name
                .get(model.provider.as_str())
                .ok_or_else(|| ProviderSetupError::UnknownProvider {
                    model: model.id.clone(),
                    provider: model.provider.clone(),
                })?;
            registry.add(Route {
                model: Arc::new(model_of(model, caching)?),
                upstream: Arc::clone(upstream),
            });
        }
        Ok(registry)
    }

    /// Adds the models that providers say they have. A provider that does not answer is told in the log and skipped.
    pub async fn discover(&mut self) {
        let asked = std::mem::take(&mut self.discovering);
        let caching = self.caching;
        let lists = join_all(
            asked
                .iter()
                .map(|upstream| tokio::time::timeout(DISCOVERY_LIMIT, upstream.provider.list_models())),
        )
        .await;
        for (upstream, list) in asked.iter().zip(lists) {
            let provider = &upstream.provider;
            match list {
                Ok(Ok(ids)) => {
                    for model in ids
                        .iter()
                        .take(MOST_DISCOVERED)
                        .filter_map(|id| discovered(id, provider.name(), caching))
                    {
                        // What is configured wins: it has a price.
                        if !self.routes.contains_key(&model.id) {
                            self.add(Route {
                                model: Arc::new(model),
                                upstream: Arc::clone(upstream),
                            });
                        }
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(target: "mapleai::providers", provider = provider.name(), error = %error, "the provider's models could not be listed");
                }
                Err(_) => {
                    tracing::warn!(target: "mapleai::providers", provider = provider.name(), limit = ?DISCOVERY_LIMIT, "the provider did not list its models in time");
                }
            }
        }
    }

    fn add(&mut self, route: Route) {
        let id = Arc::clone(&route.model.id);
        if self.routes.insert(Arc::clone(&id), route).is_none() {
            let place = self.sorted.partition_point(|known| **known < *id);
            self.sorted.insert(place, id);
        }
    }

    pub fn route(&self, model: &str) -> Option<&Route> {
        self.routes.get(model)
    }

    /// Takes up the secrets of providers that are configured with others now. What else differs waits for the next start.
    pub fn rotate(&self, providers: &BTreeMap<String, ProviderConfig>) -> Result<(), ProviderSetupError> {
        for upstream in &self.upstreams {
            if let Some(config) = providers.get(upstream.provider.name()) {
                upstream.provider.rotate(config)?;
            }
        }
        Ok(())
    }

    /// Every configured provider, sorted by name.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Sorted by model id.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.sorted.iter().filter_map(|id| self.routes.get(id))
    }
}

fn model_of(config: &ModelConfig, caching: AnswerCaching) -> Result<Model, ProviderSetupError> {
    let price = |text: &Option<String>| {
        text.as_deref()
            .map_or(Ok(Price::default()), str::parse)
            .map_err(|source| ProviderSetupError::Price {
                model: config.id.clone(),
                source,
            })
    };
    Ok(Model {
        id: config.id.as_str().into(),
        name: config.name.as_deref().unwrap_or(&config.id).into(),
        kind: match config.kind {
            config::ModelKind::Chat => ModelKind::Chat,
            config::ModelKind::Embedding => ModelKind::Embedding,
        },
        provider: config.provider.as_str().into(),
        upstream: config.upstream.as_deref().unwrap_or(&config.id).into(),
        input_price: price(&config.input_price)?,
        output_price: price(&config.output_price)?,
        caching: caching_of(config.cache.unwrap_or(caching)),
    })
}

fn caching_of(configured: AnswerCaching) -> Caching {
    match configured {
        AnswerCaching::All => Caching::All,
        AnswerCaching::Deterministic => Caching::Deterministic,
        AnswerCaching::Off => Caching::Off,
    }
}

/// Lists hold models for other uses as well; ids are all there is to tell them by.
fn discovered(id: &str, provider: &str, caching: Caching) -> Option<Model> {
    const OTHER_USES: [&str; 10] = [
        "whisper",
        "tts",
        "dall-e",
        "image",
        "audio",
        "realtime",
        "moderation",
        "transcribe",
        "sora",
        "davinci",
    ];
    let folded = id.to_lowercase();
    let usable = !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic());
    if !usable || OTHER_USES.iter().any(|word| folded.contains(word)) {
        return None;
    }
    let kind = if folded.contains("embed") {
        ModelKind::Embedding
    } else {
        ModelKind::Chat
    };
    Some(Model {
        id: id.into(),
        name: id.into(),
        kind,
        provider: provider.into(),
        upstream: id.into(),
        input_price: Price::default(),
        output_price: Price::default(),
        caching,
    })
}
