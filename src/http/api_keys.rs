//! `/api/keys`: credentials of programs.

use axum::{Json as JsonBody, extract::State, http::StatusCode, response::IntoResponse};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::List,
    extract::{Id, Json, PageQuery, Parameters},
};
use crate::{
    api_error::ApiError,
    auth::extract::{ConfirmedUser, CurrentUser},
};
use domain::{
    account::ApiKey,
    ids::{ApiKeyId, UserId},
};
use people::api_keys::ApiKeys;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeyBody {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Never, if absent.
    expires_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
pub struct ApiKeyBody {
    id: ApiKeyId,
    name: String,
    /// The first characters, to recognise the key by.
    prefix: String,
    /// Who made it.
    made_by: MakerBody,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    /// To within a few seconds.
    last_used_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
pub struct MakerBody {
    id: UserId,
    name: String,
}

#[derive(Serialize, ToSchema)]
pub struct CreatedKeyBody {
    #[serde(flatten)]
    stored: ApiKeyBody,
    /// The key itself, shown this once.
    key: String,
}

impl From<ApiKey> for ApiKeyBody {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            prefix: key.prefix,
            made_by: MakerBody {
                id: key.maker,
                name: key.maker_name,
            },
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// Make a key. It is shown this once.
#[utoipa::path(post, path = "/api/keys", tag = "API keys", request_body = NewKeyBody, responses(
    (status = 201, description = "The key", body = CreatedKeyBody),
    (status = 409, description = "There are as many as there may be", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn create(
    State(keys): State<ApiKeys>,
    ConfirmedUser(caller): ConfirmedUser,
    Json(body): Json<NewKeyBody>,
) -> Result<impl IntoResponse, ApiError> {
    let (stored, key) = keys.create(&caller, &body.name, body.expires_at).await?;
    Ok((
        StatusCode::CREATED,
        JsonBody(CreatedKeyBody {
            stored: stored.into(),
            key,
        }),
    ))
}

/// The caller's keys, newest first; for owners and admins the organisation's.
#[utoipa::path(get, path = "/api/keys", tag = "API keys", params(PageQuery), responses((status = 200, description = "Keys without their secret", body = List<ApiKeyBody>)))]
pub async fn list(
    State(keys): State<ApiKeys>,
    CurrentUser(caller): CurrentUser,
    Parameters(page): Parameters<PageQuery>,
) -> Result<JsonBody<List<ApiKeyBody>>, ApiError> {
    Ok(JsonBody(List::of(keys.list(&caller, page.read()?).await?)))
}

/// Revoke a key. It is refused within 5 seconds everywhere.
#[utoipa::path(delete, path = "/api/keys/{id}", tag = "API keys", params(("id" = ApiKeyId, Path)), responses((status = 204, description = "Revoked")))]
pub async fn revoke(
    State(keys): State<ApiKeys>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<ApiKeyId>,
) -> Result<StatusCode, ApiError> {
    keys.revoke(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
