//! `/api/cache/purge`: an administrator makes the service forget what it remembers for the organisation.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Json;
use crate::{api_error::ApiError, auth::extract::CurrentUser};
use gateway::caches::{Caches, admin::PurgeScope};
use people::accounts::Accounts;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeBody {
    /// `answer`, which is also meant if it is absent.
    #[schema(required = false)]
    pub(super) class: Option<String>,
}

/// Forget the answers of models that are remembered for the caller's organisation. For administrators, a few times a minute.
#[utoipa::path(post, path = "/api/cache/purge", tag = "Usage", request_body = PurgeBody, responses(
    (status = 204, description = "Forgotten, by every instance"),
    (status = 200, description = "Forgotten here; without Redis no other instance can be told", body = PurgedHere),
    (status = 429, description = "Too often; see Retry-After", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 503, description = "Forgotten here; other instances could not be told", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn purge(
    State(accounts): State<Accounts>,
    State(caches): State<Caches>,
    CurrentUser(caller): CurrentUser,
    Json(body): Json<PurgeBody>,
) -> Result<Response, ApiError> {
    let caller = accounts.current(&caller).await?;
    Ok(purged(caches.purge_own(&caller, body.class.as_deref()).await?))
}

/// How far a purge has come, where that is not everywhere.
#[derive(Serialize, ToSchema)]
pub struct PurgedHere {
    /// `this_instance`.
    forgotten_by: &'static str,
}

pub(super) fn purged(scope: PurgeScope) -> Response {
    match scope {
        PurgeScope::AllProcesses => StatusCode::NO_CONTENT.into_response(),
        PurgeScope::ThisProcess => {
            let forgotten_by = "this_instance";
            axum::Json(PurgedHere { forgotten_by }).into_response()
        }
    }
}
