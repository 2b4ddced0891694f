//! Accounts, and what people and programs prove who they are by.

use std::time::Duration;

use http::StatusCode;

use crate::api_error::ApiError;
use crypto::{access_token::AccessTokenError, password::PasswordError};
use gateway::throttle::Throttled;
use people::{
    accounts::AccountError, api_keys::ApiKeyError, audit::AuditError, invitations::InvitationError,
    organizations::OrganizationError, sessions::SessionError,
};

impl From<Throttled> for ApiError {
    fn from(error: Throttled) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "throttled",
            "Too many attempts. Wait before the next.",
        )
        .retry_after(error.retry_after)
    }
}

impl From<AuditError> for ApiError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Account(error) => error.into(),
            AuditError::Store(error) => error.into(),
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too many people are signing in at once.",
            )
            .retry_after(Duration::from_secs(2)),
            _ => Self::internal().with_source(error),
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Token(AccessTokenError::Sign(_)) => Self::internal().with_source(error),
            SessionError::Token(AccessTokenError::Expired) => Self {
                code: "token_expired",
                detail: "The access token has expired.".into(),
                ..Self::unauthenticated()
            },
            SessionError::Unconfirmed => Self::new(
                StatusCode::FORBIDDEN,
                "step_up_required",
                "This needs your password once more: send it to POST /api/auth/confirm and try again.",
            ),
            SessionError::PasswordChanged => AccountError::InvalidCredentials.into(),
            SessionError::Invalid | SessionError::Token(_) => Self::unauthenticated(),
            SessionError::NoEntropy(error) => error.into(),
            SessionError::Store(error) => error.into(),
            SessionError::SharedStore(error) => error.into(),
        }
    }
}

impl From<OrganizationError> for ApiError {
    fn from(error: OrganizationError) -> Self {
        match error {
            OrganizationError::NotAllowed => AccountError::NotAllowed.into(),
            OrganizationError::NotFound => Self::not_found(),
            OrganizationError::Store(error) => error.into(),
        }
    }
}

impl From<AccountError> for ApiError {
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
            AccountError::WrongPassword => Self::new(StatusCode::FORBIDDEN, "wrong_password", "The password is wrong."),
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
            AccountError::NoHeir => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "no_heir",
                "Conversations can be handed over to people of the organisation who stay.",
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

impl From<InvitationError> for ApiError {
    fn from(error: InvitationError) -> Self {
        match error {
            InvitationError::Account(error) => error.into(),
            InvitationError::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                "invitation_not_found",
                "There is no such invitation, or it was used, withdrawn or has expired.",
            ),
            InvitationError::LimitReached(error) => error.into(),
            InvitationError::NoEntropy(error) => error.into(),
            InvitationError::Store(error) => error.into(),
        }
    }
}

impl From<ApiKeyError> for ApiError {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::Invalid(fields) => Self::invalid(fields),
            ApiKeyError::InvalidKey => Self {
                code: "invalid_api_key",
                detail: "The API key is not valid: unknown, revoked or expired.".into(),
                ..Self::unauthenticated()
            },
            ApiKeyError::LimitReached(error) => error.into(),
            ApiKeyError::NotFound => Self::not_found(),
            ApiKeyError::NotMember => Self::unauthenticated(),
            ApiKeyError::NoEntropy(error) => error.into(),
            ApiKeyError::Store(error) => error.into(),
            ApiKeyError::SharedStore(error) => error.into(),
        }
    }
}
