//! Forms that ask for the password once more. Where it was not given lately, the answer is a page with the same form and a field
//! for it, which sends everything again: no script is needed, and nothing that was filled in is lost.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use secrecy::SecretString;
use serde::de::DeserializeOwned;

use super::{draw, with_wait};
use crate::{
    api_error::ApiError,
    auth::{csrf::CSRF_FIELD, extract::CurrentUser},
    http::{edge::RequestContext, extract::Form},
    state::AppState,
    web::views::ConfirmPage,
};
use domain::account::SessionOwner;
use people::{accounts::AccountError, sessions::SessionError};

/// The field that the password comes in.
const PASSWORD_FIELD: &str = "confirm_password";

/// A form that was sent by somebody who has given the password lately, or gives it with the form.
pub(super) struct ConfirmedForm<T>(pub SessionOwner, pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for ConfirmedForm<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Response> {
        read(request, state).await.map_err(IntoResponse::into_response)?
    }
}

async fn read<T: DeserializeOwned>(
    request: Request,
    state: &AppState,
) -> Result<Result<ConfirmedForm<T>, Response>, ApiError> {
    let (mut parts, body) = request.into_parts();
    let CurrentUser(caller) = CurrentUser::from_request_parts(&mut parts, state).await?;
    let from = RequestContext::from_request_parts(&mut parts, state).await?.client.0;
    let bytes = Bytes::from_request(Request::new(body), state).await.map_err(|_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "incomplete_body",
            "The form did not arrive whole.",
        )
    })?;
    match state.services.sessions.require_confirmed(&caller).await {
        Ok(()) => {}
        Err(SessionError::Unconfirmed) => {
            let mut fields = fields(&bytes);
            let password = take(&mut fields, PASSWORD_FIELD);
            let mut ask = ask(state, &caller, parts.uri.path(), fields).await?;
            let Some(password) = password.map(SecretString::from) else {
                return Ok(Err((StatusCode::FORBIDDEN, draw(&ask)?).into_response()));
            };
            match state.services.accounts.confirm_session(&caller, password, from).await {
                Ok(()) => {}
                Err(error @ (AccountError::WrongPassword | AccountError::Throttled(_))) => {
                    let error = ApiError::from(error);
                    ask.fault = Some(with_wait(&error));
                    return Ok(Err((error.status, draw(&ask)?).into_response()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    }
    let request = Request::from_parts(parts, axum::body::Body::from(bytes));
    let Form(form) = Form::from_request(request, state).await?;
    Ok(Ok(ConfirmedForm(caller, form)))
}

async fn ask(
    state: &AppState,
    caller: &SessionOwner,
    action: &str,
    mut fields: Vec<(String, String)>,
) -> Result<ConfirmPage, ApiError> {
    let deed = deed(action, &fields);
    let user = state.services.accounts.get(caller.organization, caller.user).await?;
    Ok(ConfirmPage {
        deed,
        action: action.to_owned(),
        csrf_token: take(&mut fields, CSRF_FIELD).unwrap_or_default(),
        fields,
        email: user.email,
        fault: None,
    })
}

/// What the form does: it is not in sight any more.
fn deed(action: &str, fields: &[(String, String)]) -> String {
    let field = |name: &str| {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map_or("", |(_, value)| value)
    };
    match action.trim_start_matches("/settings/") {
        "invitations" => format!("Invite {} as {}", field("email"), field("role")),
        "cache/sharing" if field("share") == "true" => "Share answers within the organisation".to_owned(),
        "cache/sharing" => "Stop sharing answers".to_owned(),
        "sessions/end-others" => "Sign out everywhere else".to_owned(),
        path if path.starts_with("sessions/") => "End a session".to_owned(),
        path if path.ends_with("/remove") => "Remove somebody from the organisation".to_owned(),
        _ => format!("Give somebody the role of {}", field("role")),
    }
}

fn fields(bytes: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(bytes).into_owned().collect()
}

fn take(fields: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    let at = fields.iter().position(|(field, _)| field == name)?;
    Some(fields.remove(at).1)
}
