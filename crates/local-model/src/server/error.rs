//! Errors in OpenAI's form.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::engine::{prompt::PromptError, scheduler::QueueFull};

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the key of this server is missing or wrong")]
    Unauthorized,
    #[error("no such route; there are GET /health, GET /v1/models and POST /v1/chat/completions")]
    NoRoute,
    #[error("this method is not for this route: GET /health and /v1/models, POST /v1/chat/completions")]
    Method,
    #[error("the body is compressed ({0}); send it as it is")]
    Coding(String),
    #[error("the body cannot be read: {0}")]
    BrokenBody(String),
    #[error("the server is busy reading other requests")]
    TooManyBodies,
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body is not the JSON of a request: {0}")]
    NotJson(String),
    /// `parameter` is the field's path, such as `messages[0].content`.
    #[error("{message}")]
    Parameter {
        parameter: String,
        message: String,
        code: &'static str,
    },
    #[error("the model {0:?} does not exist")]
    NoModel(String),
    #[error(
        "This model's maximum context length is {context} tokens, of which one at least is for the answer. However, your messages resulted in {found}{prompt} tokens.",
        found = if *.is_more { "more than " } else { "" }
    )]
    TooLong {
        context: usize,
        prompt: usize,
        is_more: bool,
    },
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error("the server is busy: {0}")]
    Busy(#[from] QueueFull),
    /// Told by the engine while it made the answer.
    #[error("{0}")]
    Engine(String),
}

/// An answer takes some seconds; that of the first in the queue is done by then.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

impl RequestError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoRoute | Self::NoModel(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Coding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BrokenBody(_)
            | Self::NotJson(_)
            | Self::Parameter { .. }
            | Self::TooLong { .. }
            | Self::Prompt(_) => StatusCode::BAD_REQUEST,
            Self::Busy(_) | Self::TooManyBodies => StatusCode::TOO_MANY_REQUESTS,
            Self::Engine(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> Option<&'static str> {
        match self {
            Self::Unauthorized => Some("invalid_api_key"),
            Self::NoModel(_) => Some("model_not_found"),
            Self::TooLong { .. } => Some("context_length_exceeded"),
            Self::Parameter { code, .. } => Some(code),
            Self::Busy(_) | Self::TooManyBodies => Some("rate_limit_exceeded"),
            _ => None,
        }
    }

    /// The body, which is also the last event of a stream that fails.
    pub fn body(&self) -> serde_json::Value {
        let parameter = match self {
            Self::Parameter { parameter, .. } => Some(parameter.as_str()),
            Self::NoModel(_) => Some("model"),
            Self::TooLong { .. } | Self::Prompt(_) => Some("messages"),
            _ => None,
        };
        let kind = match self.status() {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::INTERNAL_SERVER_ERROR => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {"message": self.to_string(), "type": kind, "param": parameter, "code": self.code()}})
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        if matches!(self, Self::Busy(_) | Self::TooManyBodies) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
