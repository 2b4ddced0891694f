//! The handler's signature is its access rule: each extractor gives one kind of caller or refuses.

use axum::{extract::FromRequestParts, http::request::Parts};

use super::Caller;
use crate::{domain::account::SessionOwner, failure::Failure, service::completions::Account};

/// A signed-in person.
#[derive(Debug, Clone, Copy)]
pub struct CurrentUser(pub SessionOwner);

impl<S: Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match parts.extensions.get::<Caller>() {
            Some(Caller::Session(owner)) => Ok(Self(*owner)),
            _ => Err(Failure::unauthenticated()),
        }
    }
}

/// Whoever may spend on models: a program with a key, or a person with an access token.
#[derive(Debug, Clone, Copy)]
pub struct ApiCaller(pub Account);

impl<S: Sync> FromRequestParts<S> for ApiCaller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let account = parts.extensions.get::<Caller>().and_then(Caller::account);
        account.map(Self).ok_or_else(Failure::unauthenticated)
    }
}
