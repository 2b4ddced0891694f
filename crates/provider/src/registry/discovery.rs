//! Discovers models from their provider's own list.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Kinds, Route, Upstream};
use domain::{
    model::{Caching, Model, ModelKind},
    money::Price,
};

/// Time limit for one list.
pub(super) const LIMIT: Duration = Duration::from_secs(3);
/// Models taken over from one provider; each makes a set of metric series.
const MAX_MODELS: usize = 500;

/// A provider that offers the models it lists. A model stays until the process ends, even if a later list lacks it for a moment;
/// later lists only add models.
pub(super) struct Discovered {
    upstream: Arc<Upstream>,
    terms: Terms,
    first: OnceLock<Box<Listed>>,
    /// Locked while a list is requested.
    asking: tokio::sync::Mutex<()>,
    /// The failure to list models has been logged.
    logged_failure: AtomicBool,
    /// The list's excess over [`MAX_MODELS`] has been logged.
    logged_rest: AtomicBool,
}

/// Terms of each model that a provider lists.
pub(super) struct Terms {
    pub(super) input_price: Price,
    pub(super) output_price: Price,
    pub(super) caching: Caching,
    pub(super) kinds: Kinds,
}

/// The models that one list added. A linked list, so that routes can be borrowed while more are added; it has at most
/// [`MAX_MODELS`] links, since each adds a model.
struct Listed {
    routes: HashMap<Arc<str>, Route>,
    next: OnceLock<Box<Listed>>,
}

impl Discovered {
    pub(super) fn new(upstream: Arc<Upstream>, terms: Terms) -> Self {
        Self {
            upstream,
            terms,
            first: OnceLock::new(),
            asking: tokio::sync::Mutex::default(),
            logged_failure: AtomicBool::new(false),
            logged_rest: AtomicBool::new(false),
        }
    }

    /// Whether the provider has listed a model. A provider without models may still be loading them.
    pub(super) fn has_models(&self) -> bool {
        self.first.get().is_some()
    }

    pub(super) fn route(&self, model: &str) -> Option<&Route> {
        self.lists().find_map(|listed| listed.routes.get(model))
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.lists().flat_map(|listed| listed.routes.values())
    }

    fn lists(&self) -> impl Iterator<Item = &Listed> {
        let first = self.first.get().map(|listed| &**listed);
        std::iter::successors(first, |listed| listed.next.get().map(|listed| &**listed))
    }

    /// Requests the list and adds new models. Logs when the provider does not answer and when it answers again.
    pub(super) async fn ask(&self) {
        let Ok(_asking) = self.asking.try_lock() else { return };
        let provider = self.upstream.provider.name();
        let error = match tokio::time::timeout(LIMIT, self.upstream.provider.list_models()).await {
            Ok(Ok(ids)) => {
                let listed_before = self.routes().count();
                let added = self.add(&ids, MAX_MODELS.saturating_sub(listed_before));
                let models = listed_before + added;
                if models >= MAX_MODELS && ids.len() > models && !self.logged_rest.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        target: "mapleai::providers", provider, listed = ids.len(), models,
                        "the provider lists more models than are taken over; name the others under [[models]]"
                    );
                }
                if models > 0
                    && (self.logged_failure.swap(false, Ordering::Relaxed) || (listed_before > 0 && added > 0))
                {
                    tracing::warn!(target: "mapleai::providers", provider, models, added, "the provider has listed models that were not known");
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {LIMIT:?}"),
        };
        // Models listed earlier remain available.
        if !self.has_models() && !self.logged_failure.swap(true, Ordering::Relaxed) {
            tracing::warn!(target: "mapleai::providers", provider, error, "the provider's models cannot be listed; they are missing until they can");
        }
    }

    /// Adds at most `room` models, and returns how many.
    fn add(&self, ids: &[String], room: usize) -> usize {
        let provider = self.upstream.provider.name();
        let new = ids.iter().filter(|id| self.route(id).is_none());
        let has_embeddings = self.upstream.capabilities.embeddings;
        let kind = |id| {
            let kind = self.terms.kinds.of(id);
            kind.filter(|kind| has_embeddings || *kind != ModelKind::Embedding)
        };
        let models = new.filter_map(|id| model(id, kind(id), provider, &self.terms));
        let mut routes = HashMap::new();
        for model in models {
            if routes.len() < room {
                routes.insert(Arc::clone(&model.id), self.to(model));
            }
        }
        let added = routes.len();
        if added > 0 {
            let mut place = &self.first;
            while let Some(listed) = place.get() {
                place = &listed.next;
            }
            let next = OnceLock::new();
            // No other task adds: the caller holds the lock.
            let _ = place.set(Box::new(Listed { routes, next }));
        }
        added
    }

    fn to(&self, model: Model) -> Route {
        Route::new(Arc::new(model), Arc::clone(&self.upstream))
    }
}

/// `None` if the id cannot be used in a request, or this service does not offer the model's kind.
pub(super) fn model(id: &str, kind: Option<ModelKind>, provider: &str, terms: &Terms) -> Option<Model> {
    let is_usable = !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_usable {
        return None;
    }
    Some(Model {
        id: id.into(),
        name: id.into(),
        kind: kind?,
        provider: provider.into(),
        upstream: id.into(),
        input_price: terms.input_price,
        cached_input_price: terms.input_price,
        output_price: terms.output_price,
        caching: terms.caching,
    })
}

#[cfg(test)]
mod tests;
