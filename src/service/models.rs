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

    /// Asks providers that were away for their models. Whether all are known now.
    pub async fn discover(&self) -> bool {
        self.registry.discover().await
    }

    pub fn get(&self, id: &str) -> Option<&Arc<Model>> {
        self.registry.route(id).map(|route| &route.model)
    }
}
