//! The OpenAI API on loopback: models, and chat completions.

mod body;
pub mod chat;
pub mod error;
pub mod request;

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::engine::{Model, scheduler::Scheduler};
use error::RequestError;

/// What the routes need.
pub struct App {
    /// What callers name the model by.
    pub model_id: String,
    pub model: Arc<Model>,
    pub scheduler: Scheduler,
    /// Every call carries it as a bearer token: other programs of this machine get no answer.
    pub key: SecretString,
    /// The clock, for the time that an answer carries.
    pub now: fn() -> SystemTime,
    bodies: Semaphore,
}

impl App {
    pub fn new(
        model_id: String,
        model: Arc<Model>,
        scheduler: Scheduler,
        key: SecretString,
        now: fn() -> SystemTime,
    ) -> Self {
        let bodies = Semaphore::new(body::MAX_BODIES);
        Self {
            model_id,
            model,
            scheduler,
            key,
            now,
            bodies,
        }
    }
}

pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/v1/models/{id}", get(model))
        .route("/v1/chat/completions", post(chat::completions))
        .fallback(async || RequestError::NoRoute)
        .method_not_allowed_fallback(async || RequestError::Method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), require_key))
        .with_state(app)
}

async fn require_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let given = bearer(request.headers()).unwrap_or_default();
    if given.as_bytes().ct_eq(app.key.expose_secret().as_bytes()).into() {
        next.run(request).await
    } else {
        RequestError::Unauthorized.into_response()
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    // RFC 9110, section 11.1: in any case.
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

async fn health(State(app): State<Arc<App>>) -> Json<Value> {
    let (waiting, active) = app.scheduler.load();
    Json(json!({"status": "ok", "waiting": waiting, "active": active}))
}

async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"object": "list", "data": [about(&app)]}))
}

async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, RequestError> {
    if id == app.model_id {
        Ok(Json(about(&app)))
    } else {
        Err(RequestError::NoModel(id.chars().take(128).collect()))
    }
}

fn about(app: &App) -> Value {
    json!({
        "id": app.model_id,
        "object": "model",
        "created": 0,
        "owned_by": "maple-local-model",
        "name": app.model.name,
        "context_window": app.model.context,
    })
}
