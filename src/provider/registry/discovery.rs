//! Models that are known from their provider's own list.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Route, Upstream};
use crate::domain::{
    model::{Caching, Model, ModelKind},
    money::Price,
};

/// A list is waited for no longer: it holds up the start.
const LIMIT: Duration = Duration::from_secs(3);
/// Models taken over from one provider; each is a set of metric series.
const MOST: usize = 500;

/// A provider whose models are those it lists. What it lists first holds until the process ends: a model that vanished from a
/// list for a moment must not vanish here.
pub(super) struct Discovered {
    upstream: Arc<Upstream>,
    terms: Terms,
    routes: OnceLock<HashMap<Arc<str>, Route>>,
    /// That it does not answer has been told.
    told: AtomicBool,
}

/// What holds for each model that a provider lists.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) input_price: Price,
    pub(super) output_price: Price,
    pub(super) caching: Caching,
}

impl Discovered {
    pub(super) fn new(upstream: Arc<Upstream>, terms: Terms) -> Self {
        Self {
            upstream,
            terms,
            routes: OnceLock::new(),
            told: AtomicBool::new(false),
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.routes.get().is_some()
    }

    pub(super) fn route(&self, model: &str) -> Option<&Route> {
        self.routes.get()?.get(model)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.get().into_iter().flat_map(HashMap::values)
    }

    /// Asks for the list, unless it is known. The log tells when the provider is away and when it has answered after all.
    pub(super) async fn ask(&self) {
        if self.is_known() {
            return;
        }
        let provider = self.upstream.provider.name();
        let error = match tokio::time::timeout(LIMIT, self.upstream.provider.list_models()).await {
            Ok(Ok(ids)) => {
                let models = ids.iter().filter_map(|id| model(id, provider, self.terms)).take(MOST);
                let routes: HashMap<_, _> = models.map(|model| (Arc::clone(&model.id), self.to(model))).collect();
                if self.told.load(Ordering::Relaxed) {
                    tracing::warn!(target: "mapleai::providers", provider, models = routes.len(), "the provider has listed its models after all");
                }
                let _ = self.routes.set(routes);
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {LIMIT:?}"),
        };
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(target: "mapleai::providers", provider, error, "the provider's models cannot be listed; they are missing until they can");
        }
    }

    fn to(&self, model: Model) -> Route {
        Route {
            model: Arc::new(model),
            upstream: Arc::clone(&self.upstream),
        }
    }
}

/// Lists hold models for other uses as well; ids are all there is to tell them by.
fn model(id: &str, provider: &str, terms: Terms) -> Option<Model> {
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
        input_price: terms.input_price,
        cached_input_price: terms.input_price,
        output_price: terms.output_price,
        caching: terms.caching,
    })
}
