//! Ways in and out: sign-in, registration, invitations, sign-out.

use std::net::IpAddr;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;

use super::{draw, faults_of, password_hint, signed_in_redirect, with_cookie, with_wait};
use crate::service::Services;
use crate::{
    api_error::ApiError,
    auth::extract::CurrentUser,
    http::{
        edge::RequestContext,
        extract::{Form, Parameters},
    },
    state::AppState,
    web::{
        Site, next,
        views::{DocsPage, FormFaults, InvitePage, RegisterPage, SignInPage},
    },
};
use people::{
    accounts::{AccountError, Accounts, Registration},
    invitations::{InvitationError, Invitations},
    sessions::Sessions,
};

/// At signing out the browser forgets what it has kept of us (W3C Clear Site Data): but not its storage, where what somebody was
/// writing is kept.
pub(in crate::http) const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
pub(in crate::http) const CACHE_ALONE: HeaderValue = HeaderValue::from_static("\"cache\"");

#[derive(Deserialize)]
pub(super) struct SignInForm {
    email: String,
    password: SecretString,
    /// Where to go then.
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct SignInQuery {
    #[serde(default)]
    next: String,
    /// `ended` if a session was over.
    #[serde(default)]
    why: String,
}

#[derive(Deserialize)]
pub(super) struct RegisterForm {
    email: String,
    password: SecretString,
    name: String,
    organization: String,
}

#[derive(Deserialize)]
pub(super) struct AcceptForm {
    name: String,
    password: SecretString,
}

pub(super) async fn docs() -> Result<Response, ApiError> {
    draw(&DocsPage)
}

pub(super) async fn sign_in_page(
    State(accounts): State<Accounts>,
    Parameters(query): Parameters<SignInQuery>,
) -> Result<Response, ApiError> {
    draw(&SignInPage {
        has_ended: query.why == "ended",
        error: None,
        email: String::new(),
        next: next::page(&query.next).unwrap_or_default().to_owned(),
        registration_open: accounts.registration_is_open(),
    })
}

pub(super) async fn sign_in(
    State(accounts): State<Accounts>,
    State(sessions): State<Sessions>,
    State(site): State<Site>,
    context: RequestContext,
    headers: HeaderMap,
    Form(form): Form<SignInForm>,
) -> Result<Response, ApiError> {
    let (from, device) = (context.client.0, site.device_token(&headers));
    let entered = match accounts.sign_in(&form.email, form.password, from, device).await {
        Ok(proven) => {
            let entered = signed_in_redirect(
                &sessions,
                &site,
                &proven,
                &headers,
                next::page(&form.next).unwrap_or("/"),
            )
            .await;
            let device = accounts.device_token(&proven.user);
            let device = device.and_then(|token| site.device_cookie(&token));
            entered.map(|entered| with_cookie(entered, device))
        }
        Err(error) => Err(error.into()),
    };
    match entered {
        Err(error) if error.status.is_client_error() => {
            let page = SignInPage {
                has_ended: false,
                error: Some(with_wait(&error)),
                email: form.email,
                next: next::page(&form.next).unwrap_or_default().to_owned(),
                registration_open: accounts.registration_is_open(),
            };
            Ok((error.status, draw(&page)?).into_response())
        }
        entered => entered,
    }
}

pub(super) async fn sign_out(
    State(sessions): State<Sessions>,
    State(site): State<Site>,
    CurrentUser(caller): CurrentUser,
) -> Result<Response, ApiError> {
    sessions.end(&caller).await?;
    let mut response = with_cookie(Redirect::to("/sign-in").into_response(), site.end_cookie());
    response.headers_mut().insert(CLEAR_SITE_DATA, CACHE_ALONE);
    Ok(response)
}

pub(super) async fn register_page(State(accounts): State<Accounts>) -> Result<Response, ApiError> {
    if !accounts.registration_is_open() {
        return Err(AccountError::RegistrationClosed.into());
    }
    draw(&RegisterPage {
        password_hint: password_hint(&accounts),
        ..RegisterPage::default()
    })
}

pub(super) async fn register(
    State(accounts): State<Accounts>,
    State(sessions): State<Sessions>,
    State(site): State<Site>,
    context: RequestContext,
    headers: HeaderMap,
    Form(form): Form<RegisterForm>,
) -> Result<Response, ApiError> {
    let (email, name, organization) = (form.email.clone(), form.name.clone(), form.organization.clone());
    let registration = Registration {
        email: form.email,
        password: form.password,
        name: form.name,
        organization: form.organization,
    };
    match accounts.register(registration, context.client.0).await {
        Ok(proven) => signed_in_redirect(&sessions, &site, &proven, &headers, "/").await,
        Err(error) => {
            let mut faults = faults_of(error)?;
            faults.sort_as(&["organization", "name", "email", "password"]);
            let page = RegisterPage {
                faults,
                password_hint: password_hint(&accounts),
                email,
                name,
                organization,
            };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, draw(&page)?).into_response())
        }
    }
}

pub(super) async fn invite_page(
    State(accounts): State<Accounts>,
    State(invitations): State<Invitations>,
    context: RequestContext,
    Path(token): Path<String>,
) -> Result<Response, ApiError> {
    draw_invitation(
        &invitations,
        password_hint(&accounts),
        token,
        context.client.0,
        FormFaults::default(),
        String::new(),
    )
    .await
}

pub(super) async fn accept(
    State(state): State<AppState>,
    context: RequestContext,
    Path(token): Path<String>,
    headers: HeaderMap,
    Form(form): Form<AcceptForm>,
) -> Result<Response, ApiError> {
    let from = context.client.0;
    let Services {
        accounts,
        invitations,
        sessions,
        ..
    } = &state.services;
    match invitations.accept(&token, &form.name, form.password, from).await {
        Ok(proven) => signed_in_redirect(sessions, &state.site, &proven, &headers, "/").await,
        Err(InvitationError::Account(error)) => {
            let (hint, faults) = (password_hint(accounts), faults_of(error)?);
            let page = draw_invitation(invitations, hint, token, from, faults, form.name).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

async fn draw_invitation(
    invitations: &Invitations,
    password_hint: String,
    token: String,
    from: IpAddr,
    faults: FormFaults,
    name: String,
) -> Result<Response, ApiError> {
    let invitation = invitations.find(&token, from).await?;
    draw(&InvitePage {
        faults,
        password_hint,
        token,
        email: invitation.email,
        organization: invitation.organization.name,
        name,
    })
}
