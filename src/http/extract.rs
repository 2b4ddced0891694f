//! Extractors whose refusals are failures of ours: each names the field and what is allowed.

mod body;
mod page;
mod whole;

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::edge::RequestContext;
use crate::api_error::ApiError;
use domain::field::FieldFault;

pub(super) use body::json_body;
pub use body::{Form, Json, JsonBytes};
pub use page::{PageQuery, read_cursor};
pub use whole::Bounds;

/// An id in the path. What cannot be an id cannot be found: 404, as for an id that does not exist.
pub struct Id<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(id) = Path::<T>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::not_found())?;
        Ok(Self(id))
    }
}

/// Query parameters under `/api`.
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(value) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| {
                let message = rejection.body_text();
                let message = message
                    .strip_prefix("Failed to deserialize query string: ")
                    .unwrap_or(&message)
                    .to_owned();
                ApiError::invalid(vec![FieldFault {
                    field: "query".into(),
                    message,
                }])
            })?;
        Ok(Self(value))
    }
}

/// What the edge found out about the request.
impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::internal)
    }
}
