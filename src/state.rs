//! What handlers can ask for: cheap handles, and no logic.

use std::sync::Arc;

use axum::extract::FromRef;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::service::{Services, health::Health, readiness::Readiness};
use crate::{http::openapi, web::Site};
use gateway::{caches, completions, models, usage};
use people::{accounts, answers, api_keys, audit, conversations, invitations, organizations, sessions};

/// One pointer: axum clones it for every request.
#[derive(Clone)]
pub struct AppState(Arc<Handles>);

pub struct Handles {
    pub services: Services,
    pub health: Health,
    pub readiness: Readiness,
    pub metrics: PrometheusHandle,
    pub site: Site,
    /// The OpenAPI document, made once.
    pub openapi: openapi::Served,
}

impl AppState {
    pub fn new(handles: Handles) -> Self {
        Self(Arc::new(handles))
    }
}

impl std::ops::Deref for AppState {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0
    }
}

macro_rules! service {
    ($($field:ident: $type:ty),+ $(,)?) => {$(
        impl FromRef<AppState> for $type {
            fn from_ref(state: &AppState) -> Self {
                state.services.$field.clone()
            }
        }
    )+};
}

service! {
    accounts: accounts::Accounts,
    answers: answers::Answers,
    api_keys: api_keys::ApiKeys,
    audit: audit::Audit,
    caches: caches::Caches,
    completions: completions::Completions,
    conversations: conversations::Conversations,
    invitations: invitations::Invitations,
    models: models::Models,
    organizations: organizations::Organizations,
    sessions: sessions::Sessions,
    usage: usage::Usage,
}

impl FromRef<AppState> for Health {
    fn from_ref(state: &AppState) -> Self {
        state.health.clone()
    }
}

impl FromRef<AppState> for Readiness {
    fn from_ref(state: &AppState) -> Self {
        state.readiness.clone()
    }
}

impl FromRef<AppState> for PrometheusHandle {
    fn from_ref(state: &AppState) -> Self {
        state.metrics.clone()
    }
}

impl FromRef<AppState> for Site {
    fn from_ref(state: &AppState) -> Self {
        state.site.clone()
    }
}
