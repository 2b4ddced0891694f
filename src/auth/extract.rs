//! The handler's signature is its access rule: each extractor gives one kind of caller or refuses.

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};

use super::Caller;
use crate::api_error::ApiError;
use domain::{account::SessionOwner, principal::Principal};
use people::sessions::Sessions;

/// A signed-in person.
#[derive(Debug, Clone, Copy)]
pub struct CurrentUser(pub SessionOwner);

impl<S: Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<Caller>() {
            Some(Caller::Session(owner)) => Ok(Self(*owner)),
            _ => Err(ApiError::unauthenticated()),
        }
    }
}

/// A signed-in person who has given the password lately: for what gives rights to somebody, or takes them.
#[derive(Debug, Clone, Copy)]
pub struct ConfirmedUser(pub SessionOwner);

impl<S: Send + Sync> FromRequestParts<S> for ConfirmedUser
where
    Sessions: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let CurrentUser(caller) = CurrentUser::from_request_parts(parts, state).await?;
        Sessions::from_ref(state).require_confirmed(&caller).await?;
        Ok(Self(caller))
    }
}

/// Whoever may spend on models: a program with a key, or a person with an access token.
#[derive(Debug, Clone, Copy)]
pub struct ApiCaller(pub Principal);

impl<S: Sync> FromRequestParts<S> for ApiCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let principal = parts.extensions.get::<Caller>().and_then(Caller::principal);
        principal.map(Self).ok_or_else(ApiError::unauthenticated)
    }
}
