//! Error responses.
//!
//! Handlers return an [`ApiError`]; the edge renders it once, in the dialect of the route (problem document, OpenAI envelope or
//! page), with the request id, and logs its source, which the caller never sees.

pub mod map;

use std::{borrow::Cow, error::Error, sync::Arc, time::Duration};

use http::StatusCode;

use domain::field::FieldFault;

/// An error response. `code` is stable; programs may rely on it.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    /// A message for people, safe to show.
    pub detail: Cow<'static, str>,
    /// The invalid field, in OpenAI's dialect.
    pub param: Option<&'static str>,
    pub fields: Vec<FieldFault>,
    pub retry_after: Option<Duration>,
    /// The sign-in page that browsers are redirected to.
    pub redirect: Option<&'static str>,
    /// The underlying error, for the log only.
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            param: None,
            fields: Vec::new(),
            retry_after: None,
            redirect: None,
            source: None,
        }
    }

    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    #[must_use]
    pub fn param(mut self, param: &'static str) -> Self {
        self.param = Some(param);
        self
    }

    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "Missing or invalid credentials. Send them as `Authorization: Bearer <token>`.",
        )
    }

    pub fn keys_are_for_v1() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "key_not_allowed",
            "API keys are for /v1. Under /api, sign in and send the access token.",
        )
    }

    pub fn forged() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "csrf_failed",
            "The request does not come from our own page, or the page is too old. Reload it and try again.",
        )
    }

    /// For a page that needs a signed-in person.
    pub fn sign_in_first() -> Self {
        Self {
            redirect: Some("/sign-in"),
            ..Self::unauthenticated()
        }
    }

    /// Redirects a page request without valid cookie to the sign-in page; other errors stay unchanged.
    #[must_use]
    pub fn or_sign_in(self) -> Self {
        if self.status == StatusCode::UNAUTHORIZED {
            Self::sign_in_first()
        } else {
            self
        }
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this address.")
    }

    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "This address does not take this method.",
        )
    }

    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "payload_too_large",
            format!("The request body is larger than the {limit} bytes that are allowed."),
        )
    }

    /// See [`Self::COMPRESSED`].
    pub fn compressed() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::COMPRESSED,
            "The request body is compressed, which is not supported. Send it as it is, without `Content-Encoding`.",
        )
    }

    /// The code of the refusal that names the codings which are accepted (RFC 9110 15.5.16).
    pub const COMPRESSED: &'static str = "unsupported_content_encoding";

    pub fn body_timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "The request body took too long to arrive.",
        )
    }

    pub fn timed_out() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timed_out",
            "The request took too long and was given up.",
        )
        .retry_after(Duration::from_secs(1))
    }

    pub fn invalid(fields: Vec<FieldFault>) -> Self {
        let named: Vec<&str> = fields.iter().map(|fault| &*fault.field).collect();
        let detail = match named.as_slice() {
            [] => "The request was refused.".to_owned(),
            named => format!("These fields were refused: {}.", named.join(", ")),
        };
        Self {
            fields,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields", detail)
        }
    }

    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on our side. It has been noted.",
        )
    }

    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database_unavailable",
            "A part of the service is away for the moment, and nothing was confirmed. Try again shortly.",
        )
        .retry_after(Duration::from_secs(1))
    }
}
