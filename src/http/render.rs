//! Writing a failure down in the dialect of the route it came from.

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api_error::ApiError,
    web::{next, views::error_page},
};

/// Carried as an extension until the edge, which knows the dialect and the request's id, writes the body.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// How errors are written under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// RFC 9457, under `/api`.
    Problem,
    /// OpenAI's envelope, under `/v1`.
    OpenAi,
    /// HTML, for people.
    Page,
}

impl Dialect {
    pub fn of(path: &str) -> Self {
        let below = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if below("/v1") {
            Self::OpenAi
        } else if below("/api") || path == "/metrics" {
            Self::Problem
        } else {
            Self::Page
        }
    }
}

/// A problem document (RFC 9457), the form of every error under `/api`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem<'a> {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'a str,
    pub status: u16,
    /// Stable; programs may rely on it.
    pub code: &'a str,
    /// What is wrong, for people.
    pub detail: &'a str,
    /// Quote it when asking for help.
    pub request_id: &'a str,
    /// The fields that were refused, each with what would be accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<ProblemField<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemField<'a> {
    pub field: &'a str,
    pub message: &'a str,
}

impl<'a> Problem<'a> {
    pub fn new(error: &'a ApiError, request_id: &'a str) -> Self {
        Self {
            kind: "about:blank",
            title: error.status.canonical_reason().unwrap_or("Error"),
            status: error.status.as_u16(),
            code: error.code,
            detail: &error.detail,
            request_id,
            errors: error
                .fields
                .iter()
                .map(|fault| ProblemField {
                    field: &fault.field,
                    message: &fault.message,
                })
                .collect(),
        }
    }
}

/// The error envelope of the OpenAI API.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiError<'a> {
    pub error: OpenAiErrorBody<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiErrorBody<'a> {
    pub message: &'a str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub param: Option<&'a str>,
    pub code: &'a str,
}

impl<'a> OpenAiError<'a> {
    pub fn new(error: &'a ApiError) -> Self {
        let kind = match error.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        // The code that OpenAI's own clients know for any credential that is not accepted.
        let code = if error.status == StatusCode::UNAUTHORIZED {
            "invalid_api_key"
        } else {
            error.code
        };
        Self {
            error: OpenAiErrorBody {
                message: &error.detail,
                kind,
                param: error.param,
                code,
            },
        }
    }
}

/// The response that the caller gets. `page` is the path that a browser wanted to see, to come back to.
pub fn render(error: &ApiError, dialect: Dialect, request_id: &str, page: Option<&str>) -> Response {
    if let (Some(target), Dialect::Page) = (error.redirect, dialect) {
        let mut response = StatusCode::SEE_OTHER.into_response();
        let back = page.and_then(next::sign_in_url);
        let target = back
            .and_then(|url| HeaderValue::from_str(&url).ok())
            .unwrap_or(HeaderValue::from_static(target));
        response.headers_mut().insert(header::LOCATION, target);
        return response;
    }
    let (content_type, body) = match dialect {
        Dialect::Problem => ("application/problem+json", json(&Problem::new(error, request_id))),
        Dialect::OpenAi => ("application/json", json(&OpenAiError::new(error))),
        Dialect::Page => (
            "text/html; charset=utf-8",
            error_page(
                error.status.as_u16(),
                error.status.canonical_reason().unwrap_or("Error"),
                &error.detail,
                request_id,
            )
            .into(),
        ),
    };
    let mut response = (error.status, Body::from(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if error.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if error.code == ApiError::COMPRESSED {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    if let Some(after) = error.retry_after {
        // Whole seconds (RFC 9110 10.2.3), rounded up so that nobody comes back too early.
        let seconds = after.as_millis().div_ceil(1000).max(1);
        if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
            headers.insert(header::RETRY_AFTER, value);
        }
    }
    response
}

fn json(body: &impl Serialize) -> Vec<u8> {
    // Plain strings and numbers: there is nothing in it that could fail to serialise.
    serde_json::to_vec(body).unwrap_or_default()
}
