//! The OpenAPI document: what is not said at the handlers.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use utoipa::{
    OpenApi,
    openapi::{
        self,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{etag, pages::assets::prepared};
use crate::{
    http::render::{OpenAiError, Problem},
    state::AppState,
    web::assets::Variants,
};

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
            crate::auth::authenticator::HOST_SESSION_COOKIE,
            "The page's cookie, in development `maple_session`; unsafe methods also need the page's X-CSRF-Token",
        ))),
    );
    document
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "Operation", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn document(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let document = &state.openapi;
    let asked = headers.get_all(header::IF_NONE_MATCH).iter();
    let tag = document.tag.as_ref();
    let mut response = if tag.is_some_and(|tag| asked.into_iter().any(|asked| etag::names(asked, tag))) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = prepared(&document.content, &headers);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag.clone());
    }
    response
}

/// The document as it is served: written, hashed and compressed once, since anybody may ask for it as often as wanted.
pub struct Served {
    content: Variants,
    tag: Option<HeaderValue>,
}

impl Served {
    pub fn new(document: &str) -> Self {
        Self {
            content: Variants::of(document.as_bytes()),
            tag: etag::tag_of(document.as_bytes()),
        }
    }
}
