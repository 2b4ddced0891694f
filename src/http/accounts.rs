//! `/api/users`: the caller's own account, and the people of the organisation.

use axum::{Json as JsonBody, extract::State};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    body::{List, UserBody},
    extract::{Id, Json},
};
use crate::{
    auth::extract::CurrentUser,
    domain::{ids::UserId, role::Role},
    failure::Failure,
    service::accounts::{Accounts, ProfileChange},
};

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
) -> Result<JsonBody<UserBody>, Failure> {
    Ok(JsonBody(accounts.get(caller.organization, caller.user).await?.into()))
}

/// Change the caller's name or password. A new password ends the caller's other sessions.
#[utoipa::path(patch, path = "/api/users/me", tag = "Accounts", request_body = ProfileBody, responses(
    (status = 200, description = "The account as it is now", body = UserBody),
    (status = 403, description = "The current password is wrong", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn change_me(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
    Json(body): Json<ProfileBody>,
) -> Result<JsonBody<UserBody>, Failure> {
    let change = ProfileChange {
        name: body.name,
        password: body.password,
        current_password: body.current_password,
    };
    Ok(JsonBody(accounts.change_profile(&caller, change).await?.into()))
}

/// The people of the caller's organisation, oldest first, at most 1,000.
#[utoipa::path(get, path = "/api/users", tag = "Accounts", responses((status = 200, description = "The organisation's people", body = List<UserBody>)))]
pub async fn list(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
) -> Result<JsonBody<List<UserBody>>, Failure> {
    Ok(JsonBody(List::whole(accounts.list(caller.organization).await?)))
}

/// Give somebody another role. Admins hand out roles up to admin, owners any.
#[utoipa::path(patch, path = "/api/users/{id}", tag = "Accounts", params(("id" = UserId, Path)), request_body = RoleBody, responses(
    (status = 200, description = "The account as it is now", body = UserBody),
    (status = 409, description = "The organisation would be left without an owner", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn set_role(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<UserId>,
    Json(body): Json<RoleBody>,
) -> Result<JsonBody<UserBody>, Failure> {
    Ok(JsonBody(accounts.set_role(&caller, id, body.role).await?.into()))
}
