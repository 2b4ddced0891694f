//! The catalogue as callers see it.

use std::sync::Arc;

use futures_util::future::join_all;

use domain::model::{Model, ModelKind};
use provider::{Origin, Registry, local::LocalStatus};

#[derive(Clone)]
pub struct Models {
    registry: Arc<Registry>,
}

impl Models {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// Sorted by id.
    pub fn list(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.registry.routes().map(|route| &route.model)
    }

    /// Asks providers that list their models for them: those that have listed none yet, or all.
    pub async fn discover(&self, all: bool) {
        self.registry.discover(all).await;
    }

    /// Waits until they have been asked once after the start, or could not be: what is missing before that may be there all the same.
    pub async fn first_look(&self) {
        self.registry.first_look().await;
    }

    /// Whether there are such providers.
    pub fn are_discovered(&self) -> bool {
        self.registry.has_discovered()
    }

    /// The chat model for whoever has chosen none: a real one before the small one that runs beside this process, and that before
    /// one that makes its answers up; the first of them by id.
    pub fn preferred_chat(&self) -> Option<&Arc<Model>> {
        let chat = self
            .registry
            .routes()
            .filter(|route| route.model.kind == ModelKind::Chat);
        let route = chat.min_by_key(|route| route.upstream.capabilities.origin);
        route.map(|route| &route.model)
    }

    /// How a model is that a process beside this one runs; nothing for all others.
    pub fn local_status(&self, model: &Model) -> Option<LocalStatus> {
        let route = self.registry.route(&model.id)?;
        let run = self.registry.local().iter().find(|run| run.id == model.id)?;
        (route.upstream.capabilities.origin == Origin::Beside).then(|| run.status())
    }

    /// Follows what is told of such models, for as long as it is polled.
    pub async fn watch_local(&self) {
        join_all(self.registry.local().iter().map(|run| run.watch())).await;
    }

    pub fn get(&self, id: &str) -> Option<&Arc<Model>> {
        self.registry.route(id).map(|route| &route.model)
    }
}
