//! What ends for good: the own account, and the organisation; and what somebody takes along.

mod export;

use axum::{
    Json as JsonBody,
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::export::Export;
use super::{edge::RequestContext, extract::Json};
use crate::{api_error::ApiError, auth::extract::CurrentUser};
use people::{accounts::Accounts, audit::Audit, conversations::Conversations, sessions::Sessions};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeletionBody {
    #[schema(value_type = String, format = Password, max_length = 256)]
    current_password: SecretString,
}

#[derive(Serialize, ToSchema)]
pub struct OrganizationDeletion {
    /// Until then the deletion can be taken back.
    delete_after: DateTime<Utc>,
}

/// Erase the caller's own account: sessions end, keys are revoked, conversations are deleted. The last owner of an organisation
/// makes somebody else an owner first, or deletes the organisation.
#[utoipa::path(delete, path = "/api/users/me", tag = "Accounts", request_body = DeletionBody, responses(
    (status = 204, description = "Erased"),
    (status = 403, description = "The password is wrong", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 409, description = "The organisation would be left without an owner", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 429, description = "Too many attempts at the current password; see Retry-After", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn leave(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
    context: RequestContext,
    Json(body): Json<DeletionBody>,
) -> Result<StatusCode, ApiError> {
    accounts.leave(&caller, body.current_password, context.client.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete the caller's organisation with all that is in it, once a time of grace is over. For owners.
#[utoipa::path(delete, path = "/api/organization/deletion", tag = "Accounts", request_body = DeletionBody, responses(
    (status = 202, description = "It will be deleted, unless that is taken back", body = OrganizationDeletion),
    (status = 403, description = "The password is wrong, or the caller owns no organisation", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 429, description = "Too many attempts at the current password; see Retry-After", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn delete_organization(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
    context: RequestContext,
    Json(body): Json<DeletionBody>,
) -> Result<(StatusCode, JsonBody<OrganizationDeletion>), ApiError> {
    let delete_after = accounts
        .delete_organization(&caller, body.current_password, context.client.0)
        .await?;
    Ok((StatusCode::ACCEPTED, JsonBody(OrganizationDeletion { delete_after })))
}

/// Take the deletion of the caller's organisation back. For owners.
#[utoipa::path(post, path = "/api/organization/deletion", tag = "Accounts", responses((status = 204, description = "It stays")))]
pub async fn restore_organization(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
) -> Result<StatusCode, ApiError> {
    accounts.restore_organization(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All of the caller's own data as one JSON object: the account, every conversation with its messages, and what the audit log has of the
/// caller's doing. It breaks off, as no
/// valid JSON, if the session ends meanwhile.
#[utoipa::path(get, path = "/api/users/me/export", tag = "Accounts", responses((status = 200, description = "`{\"user\", \"exported_at\", \"conversations\": [{…, \"messages\": […]}], \"audit_events\": […]}`", content_type = "application/json")))]
pub async fn export(
    State(accounts): State<Accounts>,
    State(conversations): State<Conversations>,
    State(audit): State<Audit>,
    State(sessions): State<Sessions>,
    CurrentUser(caller): CurrentUser,
) -> Result<Response, ApiError> {
    let user = accounts.get(caller.organization, caller.user).await?;
    let export = Export::new(accounts.now(), user.into(), caller, sessions, conversations, audit)?;
    let body = Body::from_stream(export.into_stream());
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"mapleai-export.json\""),
    );
    Ok(response)
}
