//! Which provider answers for which model.

mod discovery;
mod found;
mod kinds;
mod open_calls;
mod route;
mod upstream;
mod vendors;

use std::{collections::BTreeMap, sync::Arc};

use foldhash::HashMap;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::{Origin, local::LocalModel};
use configuration::{AnswerCaching, ModelConfig, ProviderConfig};
use discovery::{Discovered, Terms};
use domain::{
    model::{Caching, Model, ModelKind},
    money::{InvalidPrice, Price},
};
use kinds::Kinds;
pub use open_calls::{OpenCall, OpenCalls};
pub use route::Route;
pub use upstream::Upstream;
pub(crate) use vendors::Vendor;
use vendors::vendor;

/// Why the catalogue cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProviderSetupError {
    #[error("providers.{0}.base_url is missing")]
    NoBaseUrl(String),
    #[error("providers.{name}: {what} is not valid")]
    Invalid { name: String, what: &'static str },
    #[error("providers.{0}: its proxy, or that of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, is no http:// or https:// URL")]
    Proxy(String),
    #[error("no TLS roots could be loaded")]
    Tls(#[source] std::io::Error),
    #[error("model {model:?} names provider {provider:?}, which is not configured")]
    UnknownProvider { model: String, provider: String },
    #[error("model {model:?} is for embeddings, which provider {provider:?} does not have")]
    NoEmbeddings { model: String, provider: String },
    #[error("providers.{0}.discover_models: there is no list of models; name them under [[models]]")]
    NoModelList(String),
    #[error("model {model:?}")]
    Price {
        model: String,
        #[source]
        source: InvalidPrice,
    },
}

/// The catalogue.
pub struct Registry {
    /// From the configuration.
    routes: HashMap<Arc<str>, Route>,
    /// Sorted by name.
    upstreams: Vec<Arc<Upstream>>,
    /// Providers whose models are those they list.
    discovered: Vec<Discovered>,
    /// Whether each of them has been asked once, or was not there to be.
    looked: watch::Sender<bool>,
    /// Models that processes beside this one run.
    local: Vec<Arc<LocalModel>>,
    /// Models of servers that were found on this machine.
    found: HashMap<Arc<str>, Route>,
}

impl Registry {
    pub fn build(
        providers: &BTreeMap<String, ProviderConfig>,
        models: &[ModelConfig],
        caching: AnswerCaching,
    ) -> Result<Self, ProviderSetupError> {
        Self::build_of(providers, models, caching, vendor)
    }

    /// Of the vendors that `vendor` makes.
    pub(crate) fn build_of(
        providers: &BTreeMap<String, ProviderConfig>,
        models: &[ModelConfig],
        caching: AnswerCaching,
        vendor: impl Fn(&str, &ProviderConfig, Caching) -> Result<Vendor, ProviderSetupError>,
    ) -> Result<Self, ProviderSetupError> {
        let mut by_name: BTreeMap<&str, Arc<Upstream>> = BTreeMap::new();
        let mut discovered = Vec::new();
        let (mut run_here, mut routes) = (Vec::new(), HashMap::default());
        for (name, config) in providers {
            let made = vendor(name, config, caching_of(caching))?;
            let is_beside = made.provider.capabilities().origin == Origin::Beside;
            let upstream = Arc::new(Upstream::new(made.provider, config, is_beside));
            if let Some((run, model)) = made.local {
                run_here.push(run);
                let (model, upstream) = (Arc::new(model), Arc::clone(&upstream));
                routes.insert(Arc::clone(&model.id), Route::new(model, upstream));
            }
            if config.discover_models {
                if !upstream.capabilities.model_list {
                    return Err(ProviderSetupError::NoModelList(name.clone()));
                }
                let of_whom = || format!("those that providers.{name} lists");
                let terms = Terms {
                    input_price: price_of(config.discovered_input_price.as_deref(), of_whom)?,
                    output_price: price_of(config.discovered_output_price.as_deref(), of_whom)?,
                    caching: caching_of(caching),
                    kinds: Kinds::new(config.embedding_models.as_deref(), config.skipped_models.as_deref()),
                };
                discovered.push(Discovered::new(Arc::clone(&upstream), terms));
            }
            by_name.insert(name, upstream);
        }
        let mut registry = Self {
            routes,
            upstreams: by_name.values().cloned().collect(),
            looked: watch::Sender::new(discovered.is_empty()),
            discovered,
            local: run_here,
            found: HashMap::default(),
        };
        for model in models {
            let upstream = by_name
                .get(model.provider.as_str())
                .ok_or_else(|| ProviderSetupError::UnknownProvider {
                    model: model.id.clone(),
                    provider: model.provider.clone(),
                })?;
            let model = Arc::new(model_of(model, caching)?);
            if model.kind == ModelKind::Embedding && !upstream.capabilities.embeddings {
                return Err(ProviderSetupError::NoEmbeddings {
                    model: model.id.to_string(),
                    provider: model.provider.to_string(),
                });
            }
            let upstream = Arc::clone(upstream);
            registry
                .routes
                .insert(Arc::clone(&model.id), Route::new(model, upstream));
        }
        Ok(registry)
    }

    /// Asks the providers whose models are those they list what they have, all at once and for a bounded time: those that have
    /// listed none yet or, if `all`, every one. Whether each has listed some by now.
    pub async fn discover(&self, all: bool) -> bool {
        let asked = self.discovered.iter().filter(|one| all || !one.has_models());
        join_all(asked.map(Discovered::ask)).await;
        self.looked.send_replace(true);
        self.discovered.iter().all(Discovered::has_models)
    }

    /// Waits until each such provider has been asked once, for no longer than one is waited for. The service is ready before that, so that
    /// one that is silent holds up nothing; what would be told wrongly without its models waits here.
    pub async fn first_look(&self) {
        if *self.looked.borrow() {
            return;
        }
        let mut looked = self.looked.subscribe();
        let _ = tokio::time::timeout(discovery::LIMIT, looked.wait_for(|looked| *looked)).await;
    }

    /// Whether there are such providers.
    pub fn has_discovered(&self) -> bool {
        !self.discovered.is_empty()
    }

    /// Models that processes beside this one run.
    pub fn local(&self) -> &[Arc<LocalModel>] {
        &self.local
    }

    /// What is configured wins over what a provider lists, for it has a price, and that over what was found unasked.
    pub fn route(&self, model: &str) -> Option<&Route> {
        let listed = || self.discovered.iter().find_map(|one| one.route(model));
        self.routes.get(model).or_else(listed).or_else(|| self.found.get(model))
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
        let listed = self.discovered.iter().rev().flat_map(Discovered::routes);
        let all: BTreeMap<&str, &Route> = self
            .found
            .values()
            .chain(listed)
            .chain(self.routes.values())
            .map(|route| (&*route.model.id, route))
            .collect();
        all.into_values()
    }
}

fn model_of(config: &ModelConfig, caching: AnswerCaching) -> Result<Model, ProviderSetupError> {
    let price = |text: &Option<String>| price_of(text.as_deref(), || config.id.clone());
    Ok(Model {
        id: config.id.as_str().into(),
        name: config.name.as_deref().unwrap_or(&config.id).into(),
        kind: match config.kind {
            configuration::ModelKind::Chat => ModelKind::Chat,
            configuration::ModelKind::Embedding => ModelKind::Embedding,
        },
        provider: config.provider.as_str().into(),
        upstream: config.upstream.as_deref().unwrap_or(&config.id).into(),
        input_price: price(&config.input_price)?,
        cached_input_price: price(
            config
                .cached_input_price
                .as_ref()
                .map_or(&config.input_price, |_| &config.cached_input_price),
        )?,
        output_price: price(&config.output_price)?,
        caching: caching_of(config.cache.unwrap_or(caching)),
    })
}

/// A model without a price is free.
fn price_of(text: Option<&str>, model: impl FnOnce() -> String) -> Result<Price, ProviderSetupError> {
    text.map_or(Ok(Price::default()), str::parse)
        .map_err(|source| ProviderSetupError::Price { model: model(), source })
}

fn caching_of(configured: AnswerCaching) -> Caching {
    match configured {
        AnswerCaching::All => Caching::All,
        AnswerCaching::Deterministic => Caching::Deterministic,
        AnswerCaching::Off => Caching::Off,
    }
}
