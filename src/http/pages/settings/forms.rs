//! The forms of the settings page. Each leads back to the page by a redirect, so that loading it again sends nothing again;
//! only a form with something to mend is answered in place.

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use http::HeaderMap;
use secrecy::SecretString;
use serde::Deserialize;

use super::{Parts, Said, flash, show};
use crate::{
    api_error::ApiError,
    auth::extract::CurrentUser,
    http::{
        edge::RequestContext,
        extract::{Form, Id},
        pages::{confirmed::ConfirmedForm, faults_of, with_cookie},
    },
    state::AppState,
    web::views::Typed,
};
use domain::{
    account::SessionOwner,
    ids::{InvitationId, SessionId, UserId},
    role::Role,
};
use gateway::caches::admin::PurgeScope;
use people::{
    accounts::{AccountError, ProfileChange},
    invitations::InvitationError,
};

#[derive(Deserialize)]
pub(in crate::http::pages) struct NameForm {
    name: String,
}

#[derive(Deserialize)]
pub(in crate::http::pages) struct PasswordForm {
    current_password: SecretString,
    password: SecretString,
    /// Sent by a box that is ticked.
    revoke_keys: Option<String>,
}

#[derive(Deserialize)]
pub(in crate::http::pages) struct RoleForm {
    role: Role,
}

#[derive(Deserialize)]
pub(in crate::http::pages) struct InviteForm {
    email: String,
    role: Role,
}

#[derive(Deserialize)]
pub(in crate::http::pages) struct SharingForm {
    share: bool,
}

/// A form that is a button.
#[derive(Deserialize)]
pub(in crate::http::pages) struct NoFields {}

/// For whoever loads the address of a form that had something to mend.
pub(in crate::http::pages) async fn back() -> Redirect {
    Redirect::to("/settings")
}

pub(in crate::http::pages) async fn change_profile(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    context: RequestContext,
    headers: HeaderMap,
    Form(form): Form<NameForm>,
) -> Result<Response, ApiError> {
    let typed = Typed {
        name: Some(form.name.clone()),
        ..Typed::default()
    };
    let change = ProfileChange {
        name: Some(form.name),
        ..ProfileChange::default()
    };
    let changed = state
        .services
        .accounts
        .change_profile(&caller, change, context.client.0);
    mended(&state, &caller, &headers, changed.await, "profile", typed).await
}

pub(in crate::http::pages) async fn change_password(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    context: RequestContext,
    headers: HeaderMap,
    Form(form): Form<PasswordForm>,
) -> Result<Response, ApiError> {
    let typed = Typed {
        revoke_keys: form.revoke_keys.is_some(),
        ..Typed::default()
    };
    let change = ProfileChange {
        password: Some(form.password),
        current_password: Some(form.current_password),
        revoke_keys: form.revoke_keys.is_some(),
        by_cookie: true,
        name: None,
    };
    let changed = state
        .services
        .accounts
        .change_profile(&caller, change, context.client.0)
        .await;
    let session = changed.as_ref().ok().and_then(|changed| changed.session.as_ref());
    let cookie = session.and_then(|session| state.site.session_cookie(session));
    let response = mended(&state, &caller, &headers, changed, "password", typed).await?;
    Ok(with_cookie(response, cookie))
}

/// Back to the page if it is done, else the page with what is to be mended.
async fn mended<T>(
    state: &AppState,
    caller: &SessionOwner,
    headers: &HeaderMap,
    outcome: Result<T, AccountError>,
    done: &'static str,
    typed: Typed,
) -> Result<Response, ApiError> {
    match outcome {
        Ok(_) => led(Ok(done)),
        Err(error) => refused(state, caller, headers, error, typed).await,
    }
}

/// The page with what is to be mended, and the rest as it was filled in.
async fn refused(
    state: &AppState,
    caller: &SessionOwner,
    headers: &HeaderMap,
    error: AccountError,
    typed: Typed,
) -> Result<Response, ApiError> {
    let said = Said {
        notice: None,
        faults: faults_of(error)?,
        typed,
    };
    show(state, caller, headers, Parts::default(), said).await
}

fn led(outcome: Result<&'static str, ApiError>) -> Result<Response, ApiError> {
    Ok(Redirect::to(&flash::address(outcome)?).into_response())
}

pub(in crate::http::pages) async fn set_role(
    State(state): State<AppState>,
    Id(id): Id<UserId>,
    ConfirmedForm(caller, form): ConfirmedForm<RoleForm>,
) -> Result<Response, ApiError> {
    let changed = state.services.accounts.set_role(&caller, id, form.role).await;
    led(changed.map(|_| "role").map_err(ApiError::from))
}

pub(in crate::http::pages) async fn remove_member(
    State(state): State<AppState>,
    Id(id): Id<UserId>,
    ConfirmedForm(caller, NoFields {}): ConfirmedForm<NoFields>,
) -> Result<Response, ApiError> {
    let removed = state.services.accounts.remove(&caller, id, None).await;
    led(removed.map(|()| "removed").map_err(ApiError::from))
}

pub(in crate::http::pages) async fn invite(
    State(state): State<AppState>,
    headers: HeaderMap,
    ConfirmedForm(caller, form): ConfirmedForm<InviteForm>,
) -> Result<Response, ApiError> {
    match state.services.invitations.create(&caller, &form.email, form.role).await {
        Ok((_, token)) => {
            let response = Redirect::to("/settings#invitations").into_response();
            Ok(with_cookie(response, state.site.invitation_cookie(&token)))
        }
        Err(InvitationError::Account(error)) => {
            let typed = Typed {
                email: form.email,
                role: form.role.as_str(),
                ..Typed::default()
            };
            refused(&state, &caller, &headers, error, typed).await
        }
        Err(error) => Err(error.into()),
    }
}

pub(in crate::http::pages) async fn withdraw(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<InvitationId>,
) -> Result<Response, ApiError> {
    let withdrawn = state.services.invitations.withdraw(&caller, id).await;
    led(withdrawn.map(|()| "withdrawn").map_err(ApiError::from))
}

pub(in crate::http::pages) async fn end_session(
    State(state): State<AppState>,
    Id(id): Id<SessionId>,
    ConfirmedForm(caller, NoFields {}): ConfirmedForm<NoFields>,
) -> Result<Response, ApiError> {
    if !state.services.sessions.end_own(&caller, id).await? {
        return Err(ApiError::not_found());
    }
    led(Ok("session"))
}

pub(in crate::http::pages) async fn end_other_sessions(
    State(state): State<AppState>,
    ConfirmedForm(caller, NoFields {}): ConfirmedForm<NoFields>,
) -> Result<Response, ApiError> {
    state.services.sessions.end_others(&caller).await?;
    led(Ok("sessions"))
}

pub(in crate::http::pages) async fn share_answers(
    State(state): State<AppState>,
    ConfirmedForm(caller, form): ConfirmedForm<SharingForm>,
) -> Result<Response, ApiError> {
    let organizations = &state.services.organizations;
    let changed = organizations.set_share_answers(&caller, form.share).await;
    let word = if form.share { "shared" } else { "unshared" };
    led(changed.map(|()| word).map_err(ApiError::from))
}

pub(in crate::http::pages) async fn purge_cache(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
) -> Result<Response, ApiError> {
    let caller = state.services.accounts.current(&caller).await?;
    led(Ok(
        match state.services.caches.purge_own(&caller, Some("answer")).await? {
            PurgeScope::AllProcesses => "purged",
            PurgeScope::ThisProcess => "purged_here",
        },
    ))
}
