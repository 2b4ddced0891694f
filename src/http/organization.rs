//! `/api/organization`: the caller's organisation, and what it has settled for all of its people.

use axum::{Json as JsonBody, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Json;
use crate::{
    api_error::ApiError,
    auth::extract::{ConfirmedUser, CurrentUser},
};
use domain::{account::SessionOwner, ids::OrganizationId};
use people::organizations::Organizations;

#[derive(Serialize, ToSchema)]
pub struct OrganizationSettingsBody {
    id: OrganizationId,
    name: String,
    /// Whether people of the organisation are given answers of models that others of it were given. Off, nobody can tell what a
    /// colleague asked; on, more is answered from the cache.
    share_answers: bool,
    /// When the organisation will be deleted, unless an owner takes that back; null if it will not.
    delete_after: Option<DateTime<Utc>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganizationChange {
    share_answers: bool,
}

async fn current(
    organizations: &Organizations,
    caller: &SessionOwner,
) -> Result<JsonBody<OrganizationSettingsBody>, ApiError> {
    let (organization, settings, delete_after) = organizations.get(caller).await?;
    Ok(JsonBody(OrganizationSettingsBody {
        id: organization.id,
        name: organization.name,
        share_answers: settings.share_answers,
        delete_after,
    }))
}

/// The caller's organisation.
#[utoipa::path(get, path = "/api/organization", tag = "Accounts", responses((status = 200, description = "The organisation and its settings", body = OrganizationSettingsBody)))]
pub async fn get(
    State(organizations): State<Organizations>,
    CurrentUser(caller): CurrentUser,
) -> Result<JsonBody<OrganizationSettingsBody>, ApiError> {
    current(&organizations, &caller).await
}

/// Change what is settled for the organisation. For administrators and owners.
#[utoipa::path(patch, path = "/api/organization", tag = "Accounts", request_body = OrganizationChange, responses((status = 200, description = "The organisation as it is now", body = OrganizationSettingsBody)))]
pub async fn change(
    State(organizations): State<Organizations>,
    ConfirmedUser(caller): ConfirmedUser,
    Json(body): Json<OrganizationChange>,
) -> Result<JsonBody<OrganizationSettingsBody>, ApiError> {
    organizations.set_share_answers(&caller, body.share_answers).await?;
    current(&organizations, &caller).await
}
