//! The OpenAPI document: what is not said at the handlers.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use utoipa::{
    OpenApi,
    openapi::{
        self,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
    },
};

use crate::http::render::{OpenAiError, Problem};
use crate::state::AppState;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "MapleAI",
        description = "An AI service for an organisation's people and programs. `/v1` is the OpenAI API, for programs with \
            an API key; `/api` is everything else, for signed-in people. Errors under `/api` are problem documents \
            (RFC 9457) with a stable `code`; under `/v1` they have OpenAI's form."
    ),
    components(schemas(Problem, OpenAiError))
)]
struct Document;

/// The document without its routes, which the router adds.
pub fn base() -> openapi::OpenApi {
    let mut document = Document::openapi();
    let components = document.components.get_or_insert_default();
    let bearer = |description: &str| {
        let mut http = Http::new(HttpAuthScheme::Bearer);
        http.description = Some(description.to_owned());
        SecurityScheme::Http(http)
    };
    components.add_security_scheme("access_token", bearer("An access token from signing in; 15 minutes"));
    components.add_security_scheme("api_key", bearer("An API key, `mk_...`; for /v1"));
    components.add_security_scheme("operations_token", bearer("The operations token, `server.ops_token`"));
    components.add_security_scheme(
        "session_cookie",
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
            crate::auth::gate::HOST_SESSION_COOKIE,
            "The page's cookie, in development `maple_session`; unsafe methods also need the page's X-CSRF-Token",
        ))),
    );
    document
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "Operation", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn document(State(document): State<Arc<str>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

impl axum::extract::FromRef<AppState> for Arc<str> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.openapi)
    }
}
