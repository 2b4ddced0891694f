//! Bodies: JSON and forms, whole and in time, and counted before they are held.

use std::time::Duration;

use axum::extract::{FromRequest, Request, rejection::FormRejection};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body::Body as HttpBody;
use serde::de::DeserializeOwned;

use super::whole::{Bounds, Memory, whole};
use crate::{
    api_error::ApiError,
    http::layers::{BodyLimit, BodyTimeout},
};
use concurrency::memory::Allowance;
use domain::field::FieldFault;

/// Of a route that says nothing, in bytes.
const SMALLEST_LIMIT: usize = 64 * 1024;
/// The same: of the operations listener's.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body under `/api`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = json_bytes(request).await?;
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let field = error.path().to_string();
            let inner = error.into_inner();
            if inner.is_data() {
                wrong_type(&field, &inner.to_string())
            } else if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok() {
                // A number where one of several words is expected is a fault of the syntax for serde_json.
                wrong_type(&field, "has the wrong type")
            } else {
                ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "invalid_json",
                    format!("The body is not valid JSON: {inner}."),
                )
            }
        })?;
        reader.end().map_err(|error| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "invalid_json",
                format!("The body is not valid JSON: {error}."),
            )
        })?;
        Ok(Self(value))
    }
}

fn wrong_type(path: &str, message: &str) -> ApiError {
    // Without the position, which helps nobody who sends generated JSON.
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    // serde names a missing or unknown field in its message, and the object it belongs to in the path.
    let named = ["missing field `", "unknown field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split('`').next());
    let field = match (path, named) {
        (".", None) => "body".to_owned(),
        (".", Some(field)) => field.to_owned(),
        (path, None) => path.to_owned(),
        // The path of an unknown field ends with the field itself.
        (path, Some(field)) if path == field || path.ends_with(&format!(".{field}")) => path.to_owned(),
        (path, Some(field)) => format!("{path}.{field}"),
    };
    // serde quotes the value it found, which for these may be the secret itself, and answers get logged by clients.
    let secret = ["password", "token"].iter().any(|word| field.contains(word)) && message.starts_with("invalid ");
    let message = if secret { "must be a string" } else { message };
    ApiError::invalid(vec![FieldFault {
        field: field.into(),
        message: message.to_owned(),
    }])
}

/// The raw bytes of a body that says it is JSON, within the body limit.
pub struct JsonBytes(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        json_bytes(request).await.map(Self)
    }
}

async fn json_bytes(request: Request) -> Result<Bytes, ApiError> {
    says_json(request.headers())?;
    body_of(request).await.map(|(_, bytes)| bytes)
}

/// The same of a request that is not taken apart by axum.
pub(in crate::http) async fn json_body<B>(
    headers: &HeaderMap,
    body: B,
    bounds: Bounds,
    memory: Memory<'_>,
) -> Result<JsonBytes, ApiError>
where
    B: HttpBody<Data = Bytes>,
{
    says_json(headers)?;
    whole(headers, body, bounds, memory).await.map(JsonBytes)
}

/// A request's body, within the limit of its route and what its caller may have in memory.
async fn body_of(request: Request) -> Result<(http::request::Parts, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    let bytes = parts
        .extensions
        .get::<BodyLimit>()
        .map_or(SMALLEST_LIMIT, |limit| limit.0);
    let time = parts
        .extensions
        .get::<BodyTimeout>()
        .map_or(SHORTEST_TIMEOUT, |timeout| timeout.0);
    let allowance = parts.extensions.get::<Allowance>();
    let memory = allowance.map(|allowance| (allowance.budget(), allowance.holder()));
    let bytes = whole(&parts.headers, body, Bounds { bytes, time }, memory).await?;
    Ok((parts, bytes))
}

fn says_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(is_json) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "The body must be JSON, sent with `Content-Type: application/json`.",
    ))
}

/// A form of our own pages.
pub struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (parts, bytes) = body_of(request).await?;
        let request = Request::from_parts(parts, axum::body::Body::from(bytes));
        match axum::Form::<T>::from_request(request, state).await {
            Ok(axum::Form(form)) => Ok(Self(form)),
            Err(FormRejection::InvalidFormContentType(_)) => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body must be a form, sent with `Content-Type: application/x-www-form-urlencoded`.",
            )),
            Err(rejection) => Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_form",
                rejection.body_text(),
            )),
        }
    }
}

/// `application/json`, or a type with the `+json` suffix (RFC 6839), with any parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence
            .get(essence.len().saturating_sub(5)..)
            .is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
}
