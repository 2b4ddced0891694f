//! `/api/invitations`: ways into an organisation.

use axum::{Json as JsonBody, extract::State, http::StatusCode, response::IntoResponse};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::List,
    edge::RequestContext,
    extract::{Id, Json, PageQuery, Parameters},
    sessions::TokensBody,
};
use crate::{
    api_error::ApiError,
    auth::extract::{ConfirmedUser, CurrentUser},
    web::Site,
};
use domain::{account::Invitation, ids::InvitationId, role::Role};
use people::{invitations::Invitations, sessions::Sessions};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitationBody {
    #[schema(format = "email", max_length = 254)]
    email: String,
    role: Role,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptBody {
    token: String,
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    #[schema(value_type = String, format = Password, max_length = 256)]
    password: SecretString,
}

#[derive(Serialize, ToSchema)]
pub struct InvitationBody {
    id: InvitationId,
    email: String,
    role: Role,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
pub struct CreatedInvitationBody {
    #[serde(flatten)]
    stored: InvitationBody,
    /// The link to send, shown this once.
    url: String,
    token: String,
}

impl From<Invitation> for InvitationBody {
    fn from(invitation: Invitation) -> Self {
        Self {
            id: invitation.id,
            email: invitation.email,
            role: invitation.role,
            created_at: invitation.created_at,
            expires_at: invitation.expires_at,
        }
    }
}

/// Invite somebody. The link works once and is shown this once.
#[utoipa::path(post, path = "/api/invitations", tag = "Invitations", request_body = NewInvitationBody, responses(
    (status = 201, description = "The invitation", body = CreatedInvitationBody),
    (status = 409, description = "There are as many as there may be", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn create(
    State(invitations): State<Invitations>,
    State(site): State<Site>,
    ConfirmedUser(caller): ConfirmedUser,
    Json(body): Json<NewInvitationBody>,
) -> Result<impl IntoResponse, ApiError> {
    let (stored, token) = invitations.create(&caller, &body.email, body.role).await?;
    let body = CreatedInvitationBody {
        stored: stored.into(),
        url: site.invitation_url(&token),
        token,
    };
    Ok((StatusCode::CREATED, JsonBody(body)))
}

/// Invitations that can still be accepted, newest first.
#[utoipa::path(get, path = "/api/invitations", tag = "Invitations", params(PageQuery), responses((status = 200, description = "Open invitations", body = List<InvitationBody>)))]
pub async fn list(
    State(invitations): State<Invitations>,
    CurrentUser(caller): CurrentUser,
    Parameters(page): Parameters<PageQuery>,
) -> Result<JsonBody<List<InvitationBody>>, ApiError> {
    Ok(JsonBody(List::of(invitations.list(&caller, page.read()?).await?)))
}

/// Withdraw an invitation.
#[utoipa::path(delete, path = "/api/invitations/{id}", tag = "Invitations", params(("id" = InvitationId, Path)), responses((status = 204, description = "Withdrawn")))]
pub async fn withdraw(
    State(invitations): State<Invitations>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<InvitationId>,
) -> Result<StatusCode, ApiError> {
    invitations.withdraw(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Accept an invitation: creates the account and signs it in.
#[utoipa::path(post, path = "/api/invitations/accept", tag = "Invitations", request_body = AcceptBody, responses(
    (status = 201, description = "Joined and signed in", body = TokensBody),
    (status = 404, description = "No such invitation, or it was used, withdrawn or has expired", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 409, description = "There is an account with this e-mail address", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn accept(
    State(invitations): State<Invitations>,
    State(sessions): State<Sessions>,
    context: RequestContext,
    Json(body): Json<AcceptBody>,
) -> Result<impl IntoResponse, ApiError> {
    let from = context.client.0;
    let proven = invitations.accept(&body.token, &body.name, body.password, from).await?;
    let tokens = sessions.open(&proven).await?;
    Ok((StatusCode::CREATED, JsonBody(TokensBody::new(proven.user, tokens))))
}
