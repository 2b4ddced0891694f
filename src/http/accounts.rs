//! `/api/users`: the caller's own account, and the people of the organisation.

use axum::{
    Json as JsonBody,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    body::{List, UserBody},
    edge::RequestContext,
    extract::{Id, Json, PageQuery, Parameters},
};
use crate::{
    api_error::ApiError,
    auth::{
        authenticator::is_by_token,
        extract::{ConfirmedUser, CurrentUser},
    },
    web::Site,
};
use domain::{ids::UserId, role::Role};
use people::accounts::{Accounts, ProfileChange};

/// People listed to who does not say how many.
const LISTED: u16 = 1_000;

/// Absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileBody {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[schema(value_type = Option<String>, format = Password, max_length = 256)]
    password: Option<SecretString>,
    /// Needed to change the password.
    #[schema(value_type = Option<String>, format = Password)]
    current_password: Option<SecretString>,
    /// With a new password: revoke all API keys of the caller as well.
    #[serde(default)]
    #[schema(required = false)]
    revoke_keys: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleBody {
    role: Role,
}

/// The caller's account.
#[utoipa::path(get, path = "/api/users/me", tag = "Accounts", responses((status = 200, description = "The caller's account", body = UserBody)))]
pub async fn me(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
) -> Result<JsonBody<UserBody>, ApiError> {
    Ok(JsonBody(accounts.get(caller.organization, caller.user).await?.into()))
}

/// Change the caller's name or password. A new password ends the caller's other sessions; a browser gets a new cookie.
#[utoipa::path(patch, path = "/api/users/me", tag = "Accounts", request_body = ProfileBody, responses(
    (status = 200, description = "The account as it is now", body = UserBody),
    (status = 403, description = "The current password is wrong", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 429, description = "Too many attempts at the current password; see Retry-After", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn change_me(
    State(accounts): State<Accounts>,
    State(site): State<Site>,
    CurrentUser(caller): CurrentUser,
    context: RequestContext,
    headers: HeaderMap,
    Json(body): Json<ProfileBody>,
) -> Result<Response, ApiError> {
    let change = ProfileChange {
        name: body.name,
        password: body.password,
        current_password: body.current_password,
        revoke_keys: body.revoke_keys,
        by_cookie: !is_by_token(&headers),
    };
    let changed = accounts.change_profile(&caller, change, context.client.0).await?;
    let mut response = JsonBody(UserBody::from(changed.user)).into_response();
    let cookie = changed.session.and_then(|session| site.session_cookie(&session));
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The people of the caller's organisation, oldest first; 1,000 if `limit` is absent.
#[utoipa::path(get, path = "/api/users", tag = "Accounts", params(PageQuery), responses((status = 200, description = "The organisation's people", body = List<UserBody>)))]
pub async fn list(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
    Parameters(page): Parameters<PageQuery>,
) -> Result<JsonBody<List<UserBody>>, ApiError> {
    let page = page.read_or(LISTED)?;
    Ok(JsonBody(List::of(accounts.list(caller.organization, page).await?)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RemovalQuery {
    /// Who takes over the conversations, for owners to say: somebody else of the organisation. Without it they are deleted.
    conversations_to: Option<UserId>,
}

/// Remove somebody from the organisation: sessions end, keys are revoked and open invitations withdrawn, and what says whose
/// account it was is erased. Admins remove members and admins, owners anybody; the own account by `DELETE /api/users/me`.
#[utoipa::path(delete, path = "/api/users/{id}", tag = "Accounts", params(("id" = UserId, Path), RemovalQuery), responses(
    (status = 204, description = "Removed"),
    (status = 403, description = "The caller's role does not reach that far, or hands over no conversations", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is the caller's own account, or the last owner's", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn remove(
    State(accounts): State<Accounts>,
    ConfirmedUser(caller): ConfirmedUser,
    Id(id): Id<UserId>,
    Parameters(query): Parameters<RemovalQuery>,
) -> Result<StatusCode, ApiError> {
    accounts.remove(&caller, id, query.conversations_to).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give somebody another role. Admins hand out roles up to admin, owners any.
#[utoipa::path(patch, path = "/api/users/{id}", tag = "Accounts", params(("id" = UserId, Path)), request_body = RoleBody, responses(
    (status = 200, description = "The account as it is now", body = UserBody),
    (status = 409, description = "The organisation would be left without an owner", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn set_role(
    State(accounts): State<Accounts>,
    ConfirmedUser(caller): ConfirmedUser,
    Id(id): Id<UserId>,
    Json(body): Json<RoleBody>,
) -> Result<JsonBody<UserBody>, ApiError> {
    Ok(JsonBody(accounts.set_role(&caller, id, body.role).await?.into()))
}
