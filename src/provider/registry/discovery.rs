//! Models that are known from their provider's own list.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Kinds, Route, Upstream};
use crate::domain::{
    model::{Caching, Model, ModelKind},
    money::Price,
};

/// A list is waited for no longer.
pub(super) const LIMIT: Duration = Duration::from_secs(3);
/// Models taken over from one provider; each is a set of metric series.
const MAX_MODELS: usize = 500;

/// A provider whose models are those it lists. A model that is once known stays until the process ends: one that vanished from
/// a list for a moment must not vanish here. Later lists add to it.
pub(super) struct Discovered {
    upstream: Arc<Upstream>,
    terms: Terms,
    first: OnceLock<Box<Listed>>,
    /// Held by whoever asks.
    asking: tokio::sync::Mutex<()>,
    /// That it does not answer has been told.
    told: AtomicBool,
    /// That it lists more than is taken has been told.
    told_rest: AtomicBool,
}

/// What holds for each model that a provider lists.
pub(super) struct Terms {
    pub(super) input_price: Price,
    pub(super) output_price: Price,
    pub(super) caching: Caching,
    pub(super) kinds: Kinds,
}

/// What one list had that those before had not. A chain, so that what is known can be lent out while more is added; no longer
/// than [`MAX_MODELS`], since each has something new.
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
            told: AtomicBool::new(false),
            told_rest: AtomicBool::new(false),
        }
    }

    /// It has listed a model. One that lists none may be loading them.
    pub(super) fn is_known(&self) -> bool {
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

    /// Asks for the list, and adds what is new in it. The log tells when the provider is away and when it has answered after all.
    pub(super) async fn ask(&self) {
        let Ok(_asking) = self.asking.try_lock() else { return };
        let provider = self.upstream.provider.name();
        let error = match tokio::time::timeout(LIMIT, self.upstream.provider.list_models()).await {
            Ok(Ok(ids)) => {
                let known = self.routes().count();
                let added = self.add(&ids, MAX_MODELS.saturating_sub(known));
                let models = known + added;
                if models >= MAX_MODELS && ids.len() > models && !self.told_rest.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        target: "mapleai::providers", provider, listed = ids.len(), models,
                        "the provider lists more models than are taken over; name the others under [[models]]"
                    );
                }
                if models > 0 && (self.told.swap(false, Ordering::Relaxed) || (known > 0 && added > 0)) {
                    tracing::warn!(target: "mapleai::providers", provider, models, added, "the provider has listed models that were not known");
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {LIMIT:?}"),
        };
        // Of those that are known nothing is missing.
        if !self.is_known() && !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(target: "mapleai::providers", provider, error, "the provider's models cannot be listed; they are missing until they can");
        }
    }

    /// Adds at most `room` models, and gives how many.
    fn add(&self, ids: &[String], room: usize) -> usize {
        let provider = self.upstream.provider.name();
        let new = ids.iter().filter(|id| self.route(id).is_none());
        let models = new.filter_map(|id| model(id, self.terms.kinds.of(id), provider, &self.terms));
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
            // Nobody else adds: whoever asks has the lock.
            let _ = place.set(Box::new(Listed { routes, next }));
        }
        added
    }

    fn to(&self, model: Model) -> Route {
        Route {
            model: Arc::new(model),
            upstream: Arc::clone(&self.upstream),
        }
    }
}

/// Nothing where the id cannot be asked for, or the model is for nothing that is offered here.
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
