//! `/api/auth` and `/api/sessions`: registering, signing in and out, refreshing, and where one is signed in.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{List, UserBody},
    edge::RequestContext,
    extract::{Id, Json, PageQuery, Parameters},
    pages::sign_in::{CACHE_ALONE, CLEAR_SITE_DATA},
};
use crate::{
    api_error::ApiError,
    auth::extract::{ConfirmedUser, CurrentUser},
};
use domain::{account::User, ids::SessionId, page::Cursor};
use people::{
    accounts::{Accounts, Registration},
    sessions::{Sessions, Tokens},
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterBody {
    #[schema(format = "email", max_length = 254)]
    email: String,
    /// At least 12 characters, not one that is guessed first.
    #[schema(value_type = String, format = Password, max_length = 256)]
    password: SecretString,
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    #[schema(min_length = 1, max_length = 100)]
    organization: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    email: String,
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshBody {
    refresh_token: String,
}

#[derive(Serialize, ToSchema)]
pub struct TokensBody {
    user: UserBody,
    access_token: String,
    /// Good for one exchange. Presenting it again within 10 seconds gives other tokens; later it ends the session.
    refresh_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u64,
}

impl TokensBody {
    pub(super) fn new(user: User, tokens: Tokens) -> Self {
        Self {
            user: user.into(),
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            token_type: "Bearer",
            expires_in: tokens.expires_in.as_secs(),
        }
    }
}

/// Create an organisation and its owner.
#[utoipa::path(post, path = "/api/auth/register", tag = "Accounts", request_body = RegisterBody, responses(
    (status = 201, description = "Registered and signed in", body = TokensBody),
    (status = 403, description = "Registration is closed", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 409, description = "There is an account with this e-mail address", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 429, description = "Too many registrations from this address; see Retry-After", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn register(
    State(accounts): State<Accounts>,
    State(sessions): State<Sessions>,
    context: RequestContext,
    Json(body): Json<RegisterBody>,
) -> Result<impl IntoResponse, ApiError> {
    let registration = Registration {
        email: body.email,
        password: body.password,
        name: body.name,
        organization: body.organization,
    };
    let proven = accounts.register(registration, context.client.0).await?;
    let tokens = sessions.open(&proven).await?;
    Ok((StatusCode::CREATED, axum::Json(TokensBody::new(proven.user, tokens))))
}

/// Sign in.
#[utoipa::path(post, path = "/api/auth/login", tag = "Accounts", request_body = LoginBody, responses(
    (status = 200, description = "Signed in", body = TokensBody),
    (status = 401, description = "E-mail address or password is wrong", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 429, description = "Too many attempts; see Retry-After", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn login(
    State(accounts): State<Accounts>,
    State(sessions): State<Sessions>,
    context: RequestContext,
    Json(body): Json<LoginBody>,
) -> Result<axum::Json<TokensBody>, ApiError> {
    let proven = accounts
        .sign_in(&body.email, body.password, context.client.0, None)
        .await?;
    let tokens = sessions.open(&proven).await?;
    Ok(axum::Json(TokensBody::new(proven.user, tokens)))
}

/// Exchange a refresh token for new tokens.
#[utoipa::path(post, path = "/api/auth/refresh", tag = "Accounts", request_body = RefreshBody, responses(
    (status = 200, description = "New tokens; the old refresh token is used up", body = TokensBody),
    (status = 401, description = "The refresh token is unknown, used or expired", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn refresh(
    State(accounts): State<Accounts>,
    State(sessions): State<Sessions>,
    context: RequestContext,
    Json(body): Json<RefreshBody>,
) -> Result<axum::Json<TokensBody>, ApiError> {
    let (owner, tokens) = sessions.refresh(&body.refresh_token, context.client.0).await?;
    let user = accounts.get(owner.organization, owner.user).await?;
    Ok(axum::Json(TokensBody::new(user, tokens)))
}

/// Sign out: ends the session that the access token or cookie belongs to.
#[utoipa::path(post, path = "/api/auth/logout", tag = "Accounts", responses((status = 204, description = "Signed out")))]
pub async fn logout(
    State(sessions): State<Sessions>,
    CurrentUser(caller): CurrentUser,
) -> Result<impl IntoResponse, ApiError> {
    sessions.end(&caller).await?;
    Ok((StatusCode::NO_CONTENT, [(CLEAR_SITE_DATA, CACHE_ALONE)]))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmBody {
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// Give the password again, for what asks for it: refusals with the code `step_up_required`. It counts for ten minutes, as signing
/// in does.
#[utoipa::path(post, path = "/api/auth/confirm", tag = "Accounts", request_body = ConfirmBody, responses(
    (status = 204, description = "Confirmed"),
    (status = 403, description = "The password is wrong", body = crate::http::render::Problem, content_type = "application/problem+json"),
    (status = 429, description = "Too many attempts; see Retry-After", body = crate::http::render::Problem, content_type = "application/problem+json"),
))]
pub async fn confirm(
    State(accounts): State<Accounts>,
    CurrentUser(caller): CurrentUser,
    context: RequestContext,
    Json(body): Json<ConfirmBody>,
) -> Result<StatusCode, ApiError> {
    accounts
        .confirm_session(&caller, body.password, context.client.0)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
pub struct SessionBody {
    id: SessionId,
    /// `browser`, or `program` for what signed in over the API.
    kind: &'static str,
    /// Whether this request came in it.
    current: bool,
    /// Such as `Firefox on Windows`; null for programs, and where a browser does not say.
    device: Option<String>,
    /// To within some minutes; null until it was used again after signing in.
    last_used_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

/// Where the caller is signed in, newest first.
#[utoipa::path(get, path = "/api/sessions", tag = "Accounts", params(PageQuery), responses((status = 200, description = "Sessions that have not ended", body = List<SessionBody>)))]
pub async fn list(
    State(sessions): State<Sessions>,
    CurrentUser(caller): CurrentUser,
    Parameters(page): Parameters<PageQuery>,
) -> Result<axum::Json<List<SessionBody>>, ApiError> {
    let page = sessions.list(&caller, page.read()?).await?;
    Ok(axum::Json(List {
        next_cursor: page.next.map(Cursor::encode),
        data: page
            .rows
            .into_iter()
            .map(|session| SessionBody {
                id: session.id,
                kind: if session.is_browser { "browser" } else { "program" },
                current: session.id == caller.session,
                device: session.device,
                last_used_at: session.last_used_at,
                created_at: session.created_at,
                expires_at: session.expires_at,
            })
            .collect(),
    }))
}

/// End one of the caller's sessions.
#[utoipa::path(delete, path = "/api/sessions/{id}", tag = "Accounts", params(("id" = SessionId, Path)), responses((status = 204, description = "Ended")))]
pub async fn end(
    State(sessions): State<Sessions>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<SessionId>,
) -> Result<StatusCode, ApiError> {
    if id != caller.session {
        sessions.require_confirmed(&caller).await?;
    }
    if sessions.end_own(&caller, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::not_found())
    }
}

/// End every session of the caller but this one.
#[utoipa::path(delete, path = "/api/sessions", tag = "Accounts", responses((status = 204, description = "Ended")))]
pub async fn end_others(
    State(sessions): State<Sessions>,
    ConfirmedUser(caller): ConfirmedUser,
) -> Result<StatusCode, ApiError> {
    sessions.end_others(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}
