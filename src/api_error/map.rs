//! Every service error and what it is over HTTP: the one place that decides.

mod accounts;
mod completions;

use http::StatusCode;

use super::ApiError;
use crypto::secret::NoEntropy;
use domain::field::FieldFault;
use gateway::{caches::admin::CacheError, usage::UsageError};
use people::conversations::ConversationError;
use store::{StoreError, limits::LimitReached};

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable().with_source(error),
            _ => Self::internal().with_source(error),
        }
    }
}

impl From<std::sync::Arc<StoreError>> for ApiError {
    fn from(error: std::sync::Arc<StoreError>) -> Self {
        let response = if matches!(*error, StoreError::Unavailable(_)) {
            Self::unavailable()
        } else {
            Self::internal()
        };
        Self {
            source: Some(error),
            ..response
        }
    }
}

impl From<LimitReached> for ApiError {
    fn from(error: LimitReached) -> Self {
        Self::new(StatusCode::CONFLICT, "limit_reached", error.to_string())
    }
}

impl From<NoEntropy> for ApiError {
    fn from(error: NoEntropy) -> Self {
        Self::internal().with_source(error)
    }
}

impl From<ConversationError> for ApiError {
    fn from(error: ConversationError) -> Self {
        match error {
            ConversationError::Invalid(fields) => Self::invalid(fields),
            ConversationError::NotFound => Self::not_found(),
            ConversationError::LimitReached(error) => error.into(),
            ConversationError::Store(error) => error.into(),
            ConversationError::SharedStore(error) => error.into(),
        }
    }
}

impl From<UsageError> for ApiError {
    fn from(error: UsageError) -> Self {
        match error {
            UsageError::Invalid(fields) => Self::invalid(fields),
            UsageError::TooMuch => Self::invalid(vec![FieldFault {
                field: "from".into(),
                message: format!("must be nearer to `to`: {error}"),
            }]),
            UsageError::Store(error) => error.into(),
            UsageError::SharedStore(error) => error.into(),
        }
    }
}

impl From<CacheError> for ApiError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Invalid(fields) => Self::invalid(fields),
            CacheError::Throttled(error) => error.into(),
            CacheError::NotAllowed => Self::new(
                StatusCode::FORBIDDEN,
                "not_allowed",
                "Your role in the organisation does not allow this.",
            ),
            CacheError::Redis(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "cache_unreachable",
                "This instance has forgotten; the others could not be told. Try again.",
            )
            .with_source(error),
        }
    }
}
