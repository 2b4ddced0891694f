//! Calls of models, and the answers in conversations that are made by them.

use std::time::Duration;

use http::StatusCode;

use crate::api_error::ApiError;
use concurrency::memory::Exhausted;
use gateway::{
    admission::Refused,
    completions::{BadRequest, CompletionError, stream::StreamError},
    usage::BacklogFull,
};
use llm::outbound::openai::said::Objection;
use people::answers::{AnswerError, AnswerFailure};
use provider::ProviderError;

impl From<BacklogFull> for ApiError {
    fn from(error: BacklogFull) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "usage_backlog_full",
            "Usage cannot be recorded for the moment.",
        )
        .retry_after(Duration::from_secs(5))
        .with_source(error)
    }
}

impl From<Refused> for ApiError {
    fn from(error: Refused) -> Self {
        match error {
            Refused::Organization { retry_after } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "organization_limit",
                "Your organisation has as many calls in flight as it may. Wait before the next.",
            )
            .retry_after(retry_after),
            Refused::Process { retry_after } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "The service has as many calls as it can take. Try again.",
            )
            .retry_after(retry_after),
        }
    }
}

impl From<Exhausted> for ApiError {
    fn from(error: Exhausted) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "The service holds as many large bodies and answers as it can. Try again.",
        )
        .retry_after(Duration::from_secs(1))
        .with_source(error)
    }
}

impl From<ProviderError> for ApiError {
    fn from(error: ProviderError) -> Self {
        if let ProviderError::NoMemory(error) = error {
            return error.into();
        }
        if let ProviderError::NoConnection { .. } = error {
            return Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "The service has as many calls to the provider as it can take. Try again.",
            )
            .retry_after(Duration::from_secs(1))
            .with_source(error);
        }
        if let ProviderError::Busy { retry_after, .. } = error {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "provider_busy", error.to_string())
                .retry_after(retry_after)
                .with_source(error)
        } else if error.is_timeout() {
            Self::new(StatusCode::GATEWAY_TIMEOUT, "provider_timeout", error.to_string()).with_source(error)
        } else {
            Self::new(StatusCode::BAD_GATEWAY, "provider_error", error.to_string()).with_source(error)
        }
    }
}

impl From<BadRequest> for ApiError {
    fn from(error: BadRequest) -> Self {
        let response = Self::new(StatusCode::BAD_REQUEST, "invalid_request", error.to_string());
        match error {
            BadRequest::Missing(param) | BadRequest::WrongType { param, .. } => response.param(param),
            BadRequest::Misspelt { meant, .. } => response.param(meant),
            BadRequest::Json(_) | BadRequest::Utf8(_) => Self {
                code: "invalid_json",
                ..response
            },
        }
    }
}

impl From<CompletionError> for ApiError {
    fn from(error: CompletionError) -> Self {
        match error {
            CompletionError::BadRequest(error) => error.into(),
            CompletionError::UnknownModel(_) => Self::new(
                StatusCode::NOT_FOUND,
                "model_not_found",
                format!("{error}. GET /v1/models lists those there are."),
            )
            .param("model"),
            CompletionError::WrongKind { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "invalid_request", error.to_string()).param("model")
            }
            CompletionError::BacklogFull(error) => error.into(),
            CompletionError::Refused(error) => error.into(),
            CompletionError::Provider(error) => error.into(),
            CompletionError::Stopping => StreamError::Stopping.into(),
            CompletionError::Revoked => StreamError::Revoked.into(),
        }
    }
}

impl From<StreamError> for ApiError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Provider(error) => error.into(),
            StreamError::Stopping => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting_down",
                "The server is shutting down. Try again.",
            ),
            StreamError::Revoked => Self {
                code: "credential_ended",
                detail: "The key or session that this was asked for with is no longer good.".into(),
                ..Self::unauthenticated()
            },
        }
    }
}

impl From<AnswerError> for ApiError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Conversation(error) => error.into(),
            AnswerError::NothingAsked => Self::new(
                StatusCode::CONFLICT,
                "nothing_asked",
                "The conversation has no question to answer yet.",
            ),
            AnswerError::InProgress => Self::new(
                StatusCode::CONFLICT,
                "answer_in_progress",
                "An answer is still being written in this conversation. Wait for it, or stop it, and ask again.",
            )
            .retry_after(Duration::from_secs(5)),
            AnswerError::Changed => Self::new(
                StatusCode::CONFLICT,
                "conversation_changed",
                "Something else was asked in this conversation meanwhile. Reload it to see what, and ask again.",
            ),
            AnswerError::NoModel => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no_model",
                "No chat model is configured on this server.",
            ),
            AnswerError::Ended => Self::internal().with_source(error),
            AnswerError::Store(error) => error.into(),
        }
    }
}

impl From<AnswerFailure> for ApiError {
    fn from(error: AnswerFailure) -> Self {
        let detail = error.ending().detail;
        let response = match error {
            AnswerFailure::Completion(error) => error.into(),
            AnswerFailure::Stream(error) => error.into(),
            AnswerFailure::Refused {
                status,
                objection,
                retry_after,
            } => refused(status, objection, retry_after),
            AnswerFailure::Deleted => Self::new(StatusCode::GONE, "deleted", ""),
            AnswerFailure::Store(error) => error.into(),
        };
        Self { detail, ..response }
    }
}

fn refused(status: StatusCode, objection: Objection, retry_after: Option<Duration>) -> ApiError {
    match (objection, status) {
        (Objection::ContextLength, _) => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "context_length", ""),
        (Objection::ContentFilter, _) => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "content_filter", ""),
        (Objection::Other, StatusCode::TOO_MANY_REQUESTS) => {
            let response = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "");
            match retry_after {
                Some(after) => response.retry_after(after),
                None => response,
            }
        }
        (Objection::Other, _) => ApiError::new(StatusCode::BAD_GATEWAY, "provider_refused", ""),
    }
}
