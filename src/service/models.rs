//! The catalogue as callers see it.

use std::sync::Arc;

use crate::{domain::model::Model, provider::Registry};

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

    /// Whether there are such providers.
    pub fn are_discovered(&self) -> bool {
        self.registry.has_discovered()
    }

    pub fn get(&self, id: &str) -> Option<&Arc<Model>> {
        self.registry.route(id).map(|route| &route.model)
    }
}
