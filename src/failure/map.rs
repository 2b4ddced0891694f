//! Every service error and what it is over HTTP: the one place that decides.

use std::time::Duration;

use http::StatusCode;

use super::Failure;
use crate::{
    crypto::{access_token::AccessTokenError, password::PasswordError, secret::NoEntropy},
    provider::ProviderError,
    service::{
        accounts::AccountError,
        admission::Refused,
        answers::{AnswerError, AnswerFailure},
        api_keys::ApiKeyError,
        caches::operate::CacheError,
        completions::{BadRequest, CompletionError, stream::StreamError},
        conversations::ConversationError,
        field::FieldFault,
        invitations::InvitationError,
        sessions::SessionError,
        throttle::Throttled,
        usage::{BacklogFull, UsageError},
    },
    store::StoreError,
};

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

impl From<NoEntropy> for Failure {
    fn from(error: NoEntropy) -> Self {
        Self::internal().because(error)
    }
}

impl From<Throttled> for Failure {
    fn from(error: Throttled) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "throttled",
            "Too many attempts. Wait before the next.",
        )
        .retry_after(error.retry_after)
    }
}

impl From<PasswordError> for Failure {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too many people are signing in at once.",
            )
            .retry_after(Duration::from_secs(2)),
            _ => Self::internal().because(error),
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Token(AccessTokenError::Sign(_)) => Self::internal().because(error),
            SessionError::Token(AccessTokenError::Expired) => Self {
                code: "token_expired",
                detail: "The access token has expired.".into(),
                ..Self::unauthenticated()
            },
            SessionError::Invalid | SessionError::Token(_) => Self::unauthenticated(),
            SessionError::NoEntropy(error) => error.into(),
            SessionError::Store(error) => error.into(),
            SessionError::SharedStore(error) => error.into(),
        }
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Invalid(fields) => Self::invalid(fields),
            AccountError::EmailTaken => Self::new(
                StatusCode::CONFLICT,
                "email_taken",
                "There is an account with this e-mail address.",
            ),
            AccountError::RegistrationClosed => Self::new(
                StatusCode::FORBIDDEN,
                "registration_closed",
                "Registration is closed. Ask for an invitation.",
            ),
            AccountError::InvalidCredentials => Self::new(
                StatusCode::UNAUTHORIZED,
                "invalid_credentials",
                "E-mail address or password is wrong.",
            ),
            AccountError::Throttled(error) => error.into(),
            AccountError::WrongPassword => Self::new(
                StatusCode::FORBIDDEN,
                "wrong_password",
                "The current password is wrong.",
            ),
            AccountError::NotAllowed => Self::new(
                StatusCode::FORBIDDEN,
                "not_allowed",
                "Your role in the organisation does not allow this.",
            ),
            AccountError::LastOwner => Self::new(
                StatusCode::CONFLICT,
                "last_owner",
                "An organisation needs at least one owner.",
            ),
            AccountError::Yourself => Self::new(
                StatusCode::CONFLICT,
                "own_account",
                "You cannot remove yourself. Another owner or administrator can.",
            ),
            AccountError::NotFound => Self::not_found(),
            AccountError::Password(error) => error.into(),
            AccountError::Session(error) => error.into(),
            AccountError::Store(error) => error.into(),
            AccountError::SharedStore(error) => error.into(),
        }
    }
}

impl From<InvitationError> for Failure {
    fn from(error: InvitationError) -> Self {
        match error {
            InvitationError::Account(error) => error.into(),
            InvitationError::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                "invitation_not_found",
                "There is no such invitation, or it was used, withdrawn or has expired.",
            ),
            InvitationError::NoEntropy(error) => error.into(),
            InvitationError::Store(error) => error.into(),
        }
    }
}

impl From<ApiKeyError> for Failure {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::Invalid(fields) => Self::invalid(fields),
            ApiKeyError::InvalidKey => Self {
                code: "invalid_api_key",
                detail: "The API key is not valid: unknown, revoked or expired.".into(),
                ..Self::unauthenticated()
            },
            ApiKeyError::Throttled(error) => error.into(),
            ApiKeyError::NotFound => Self::not_found(),
            ApiKeyError::NotMember => Self::unauthenticated(),
            ApiKeyError::NoEntropy(error) => error.into(),
            ApiKeyError::Store(error) => error.into(),
            ApiKeyError::SharedStore(error) => error.into(),
        }
    }
}

impl From<ConversationError> for Failure {
    fn from(error: ConversationError) -> Self {
        match error {
            ConversationError::Invalid(fields) => Self::invalid(fields),
            ConversationError::NotFound => Self::not_found(),
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

impl From<BacklogFull> for Failure {
    fn from(error: BacklogFull) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "usage_backlog_full",
            "Usage cannot be recorded for the moment.",
        )
        .retry_after(Duration::from_secs(5))
        .because(error)
    }
}

impl From<Refused> for Failure {
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

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        if error.is_timeout() {
            Self::new(StatusCode::GATEWAY_TIMEOUT, "provider_timeout", error.to_string()).because(error)
        } else {
            Self::new(StatusCode::BAD_GATEWAY, "provider_error", error.to_string()).because(error)
        }
    }
}

impl From<BadRequest> for Failure {
    fn from(error: BadRequest) -> Self {
        let failure = Self::new(StatusCode::BAD_REQUEST, "invalid_request", error.to_string());
        match error {
            BadRequest::Missing(param) | BadRequest::WrongType { param, .. } => failure.param(param),
            BadRequest::Json(_) | BadRequest::Utf8(_) => Self {
                code: "invalid_json",
                ..failure
            },
        }
    }
}

impl From<CompletionError> for Failure {
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
        }
    }
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Invalid(fields) => Self::invalid(fields),
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

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Provider(error) => error.into(),
            StreamError::Stopping => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting_down",
                "The server is shutting down. Try again.",
            ),
        }
    }
}

impl From<AnswerError> for Failure {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Conversation(error) => error.into(),
            AnswerError::NothingAsked => Self::new(
                StatusCode::CONFLICT,
                "nothing_asked",
                "The conversation has no question to answer yet.",
            ),
            AnswerError::NoModel => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no_model",
                "No chat model is configured on this server.",
            ),
            AnswerError::Ended => Self::internal().because(error),
            AnswerError::Store(error) => error.into(),
        }
    }
}

impl From<AnswerFailure> for Failure {
    fn from(error: AnswerFailure) -> Self {
        match error {
            AnswerFailure::Completion(error) => error.into(),
            AnswerFailure::Stream(error) => error.into(),
            AnswerFailure::Refused(_) => Self::new(StatusCode::BAD_GATEWAY, "provider_refused", error.to_string()),
            AnswerFailure::Store(error) => error.into(),
        }
    }
}
