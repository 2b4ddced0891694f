//! Pages for people. Forms post back to the page they stand on and work without script.

pub(super) mod assets;
mod audit;
mod chat;
mod confirmed;
mod keys;
mod settings;
pub(super) mod sign_in;

use askama::Template;
use axum::{
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, Method, header};

use self::settings::forms;
use super::routes::Routes;
use crate::{
    api_error::ApiError,
    auth::access::Access,
    web::{
        Site,
        views::{FormFaults, Viewer},
    },
};
use domain::{account::SessionOwner, device};
use people::{
    accounts::{AccountError, Accounts},
    sessions::{Proven, Sessions},
};

/// Adds every page.
pub fn routes(routes: Routes) -> Routes {
    let (page, form, open) = (Access::Page, Access::OpenForm, Access::Open);
    routes
        .page(Method::GET, "/", page, get(chat::start))
        .page(Method::GET, "/c/{id}", page, get(chat::conversation))
        .page(Method::GET, "/keys", page, get(keys::keys))
        .page(Method::GET, "/audit", page, get(audit::audit))
        .page(Method::GET, "/settings", page, get(settings::settings))
        .page(Method::GET, "/settings/profile", page, get(forms::back))
        .page(Method::POST, "/settings/profile", page, post(forms::change_profile))
        .page(Method::GET, "/settings/password", page, get(forms::back))
        .page(Method::POST, "/settings/password", page, post(forms::change_password))
        .page(
            Method::POST,
            "/settings/sessions/{id}/end",
            page,
            post(forms::end_session),
        )
        .page(
            Method::POST,
            "/settings/sessions/end-others",
            page,
            post(forms::end_other_sessions),
        )
        .page(Method::POST, "/settings/members/{id}", page, post(forms::set_role))
        .page(
            Method::POST,
            "/settings/members/{id}/remove",
            page,
            post(forms::remove_member),
        )
        .page(Method::GET, "/settings/invitations", page, get(forms::back))
        .page(Method::POST, "/settings/invitations", page, post(forms::invite))
        .page(
            Method::POST,
            "/settings/invitations/{id}/revoke",
            page,
            post(forms::withdraw),
        )
        .page(Method::GET, "/settings/cache/purge", page, get(forms::back))
        .page(Method::POST, "/settings/cache/purge", page, post(forms::purge_cache))
        .page(Method::GET, "/settings/cache/sharing", page, get(forms::back))
        .page(
            Method::POST,
            "/settings/cache/sharing",
            page,
            post(forms::share_answers),
        )
        .page(Method::POST, "/sign-out", page, post(sign_in::sign_out))
        .page(Method::GET, "/sign-in", form, get(sign_in::sign_in_page))
        .page(Method::POST, "/sign-in", form, post(sign_in::sign_in))
        .page(Method::GET, "/register", form, get(sign_in::register_page))
        .page(Method::POST, "/register", form, post(sign_in::register))
        .page(Method::GET, "/invite/{token}", form, get(sign_in::invite_page))
        .page(Method::POST, "/invite/{token}", form, post(sign_in::accept))
        .page(Method::GET, "/api/docs", open, get(sign_in::docs))
        .page(Method::GET, "/assets/{name}", open, get(assets::asset))
}

#[derive(Debug, thiserror::Error)]
#[error("a page could not be drawn")]
struct NotDrawn(#[from] askama::Error);

fn draw(page: &impl Template) -> Result<Response, ApiError> {
    let html = page
        .render()
        .map_err(|error| ApiError::internal().with_source(NotDrawn(error)))?;
    Ok(Html(html).into_response())
}

/// The caller as a page shows them.
async fn viewer(
    accounts: &Accounts,
    site: &Site,
    caller: &SessionOwner,
    headers: &HeaderMap,
) -> Result<Viewer, ApiError> {
    let user = accounts.get(caller.organization, caller.user).await?;
    Ok(Viewer {
        id: user.id.to_string(),
        name: user.name,
        email: user.email,
        role: user.role.as_str(),
        organization: user.organization.name,
        may_manage: user.role.may_manage_members(),
        csrf_token: site.csrf_token(headers),
    })
}

/// Opens a session for the page in the browser that sent `headers`, and goes to `page`.
async fn signed_in_redirect(
    sessions: &Sessions,
    site: &Site,
    proven: &Proven,
    headers: &HeaderMap,
    page: &str,
) -> Result<Response, ApiError> {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let device = agent.and_then(device::of_user_agent);
    let session = sessions.open_page(proven, device.as_deref()).await?;
    Ok(with_cookie(
        Redirect::to(page).into_response(),
        site.session_cookie(&session),
    ))
}

fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// What is wrong, and for how long it will be.
fn with_wait(error: &ApiError) -> String {
    let Some(wait) = error.retry_after else {
        return error.detail.to_string();
    };
    let seconds = wait.as_secs().max(1);
    let (count, unit) = if seconds < 100 {
        (seconds, "second")
    } else {
        (seconds.div_ceil(60), "minute")
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{} Try again in {count} {unit}{plural}.", error.detail)
}

/// What makes a good password, for whoever has to find one.
fn password_hint(accounts: &Accounts) -> String {
    format!(
        "At least {} characters. A few random words do well.",
        accounts.password_min_length()
    )
}

/// What a form says about an error that its user can mend, or the failure that it is otherwise.
fn faults_of(error: AccountError) -> Result<FormFaults, ApiError> {
    match error {
        AccountError::Invalid(fields) => Ok(FormFaults {
            general: None,
            fields: fields
                .into_iter()
                .map(|fault| (fault.field.into_owned(), fault.message))
                .collect(),
        }),
        AccountError::WrongPassword => Ok(FormFaults {
            general: None,
            fields: vec![("current_password".to_owned(), "is wrong".to_owned())],
        }),
        // Nothing that could be corrected in the form.
        AccountError::NotAllowed => Err(error.into()),
        error => {
            let error = ApiError::from(error);
            if error.status.is_server_error() {
                return Err(error);
            }
            Ok(FormFaults {
                general: Some(with_wait(&error)),
                fields: Vec::new(),
            })
        }
    }
}
