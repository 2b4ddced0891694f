//! Every service error and what it is over HTTP: the one place that decides.

mod accounts;
mod completions;

use http::StatusCode;

use super::Failure;
use crypto::secret::NoEntropy;
use domain::field::FieldFault;
use gateway::{caches::admin::CacheError, usage::UsageError};
use people::conversations::ConversationError;
use store::{StoreError, limits::LimitReached};

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable().because(error),
            _ => Self::internal().because(error),
        }
    }
}

impl From<std::sync::Arc<StoreError>> for Failure {
    fn from(error: std::sync::Arc<StoreError>) -> Self {
        let failure = if matches!(*error, StoreError::Unavailable(_)) {
            Self::unavailable()
        } else {
            Self::internal()
        };
        Self {
            cause: Some(error),
            ..failure
        }
    }
}

impl From<LimitReached> for Failure {
    fn from(error: LimitReached) -> Self {
        Self::new(StatusCode::CONFLICT, "limit_reached", error.to_string())
    }
}

impl From<NoEntropy> for Failure {
    fn from(error: NoEntropy) -> Self {
        Self::internal().because(error)
    }
}

impl From<ConversationError> for Failure {
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

impl From<UsageError> for Failure {
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

impl From<CacheError> for Failure {
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
            .because(error),
        }
    }
}
