//! The settings page: the own account, where it is signed in, usage, members and invitations.

mod flash;
pub(super) mod forms;
mod usage;

use std::{error::Error as _, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{draw, password_hint, viewer, with_cookie};
use crate::service::Services;
use crate::{
    api_error::ApiError,
    auth::extract::CurrentUser,
    http::extract::{Parameters, read_cursor},
    state::AppState,
    web::{
        figures::Moment,
        views::{FormFaults, InvitationRow, MemberRow, SessionRow, SettingsPage, Typed, UsageView},
    },
};
use domain::{
    account::{Invitation, Session, SessionOwner, User},
    page::{Cursor, Page, PageRequest},
    role::Role,
};

/// Highest first, as people look for them.
const ROLES: [Role; 3] = [Role::Owner, Role::Admin, Role::Member];
/// Members on one page, and sessions, of which there is no second: the rest is ended together.
const MEMBERS: u16 = 100;
const SESSIONS: u16 = 20;
const INVITATIONS: u16 = 100;
/// For the report, without which the rest of the page is shown.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// What the address says: what has just been done, and which members are looked at.
#[derive(Default, Deserialize)]
pub(super) struct SettingsQuery {
    done: Option<String>,
    fault: Option<String>,
    members: Option<String>,
    invitations: Option<String>,
}

/// Where the parts of the long lists that are looked at begin.
#[derive(Default, Clone, Copy)]
struct Parts {
    members: Option<Cursor>,
    invitations: Option<Cursor>,
}

pub(super) async fn settings(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Parameters(query): Parameters<SettingsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let parts = Parts {
        members: read_cursor(query.members.as_deref())?,
        invitations: read_cursor(query.invitations.as_deref())?,
    };
    let faults = FormFaults {
        general: query.fault.as_deref().and_then(flash::fault).map(str::to_owned),
        fields: Vec::new(),
    };
    let notice = query.done.as_deref().and_then(flash::done);
    let said = Said {
        notice,
        faults,
        typed: Typed::default(),
    };
    show(&state, &caller, &headers, parts, said).await
}

/// What the page says of the form that was sent before, and what was in it.
#[derive(Default)]
struct Said {
    notice: Option<&'static str>,
    faults: FormFaults,
    typed: Typed,
}

/// The page, with what is wrong with a form that was sent.
async fn show(
    state: &AppState,
    caller: &SessionOwner,
    headers: &HeaderMap,
    parts: Parts,
    said: Said,
) -> Result<Response, ApiError> {
    // What the page offers goes by the role of this moment.
    let caller = &state.services.accounts.current(caller).await?;
    let Services {
        accounts,
        invitations,
        sessions,
        ..
    } = &state.services;
    let viewer = viewer(accounts, &state.site, caller, headers).await?;
    let first = |limit, after| PageRequest { limit, after };
    let members = accounts
        .list(caller.organization, first(MEMBERS, parts.members))
        .await?;
    let signed_in = sessions.list(caller, first(SESSIONS, None)).await?;
    let invited = if caller.role.may_manage_members() {
        invitations.list(caller, first(INVITATIONS, parts.invitations)).await?
    } else {
        Page::cut(Vec::new(), INVITATIONS, |_| Cursor::END)
    };
    let is_refused = !said.faults.fields.is_empty();
    let page = SettingsPage {
        viewer,
        notice: said.notice,
        faults: said.faults,
        typed: said.typed,
        password_hint: password_hint(accounts),
        more_members: members.next.map(Cursor::encode),
        is_first_part: parts.members.is_none(),
        members: members
            .rows
            .into_iter()
            .map(|member| member_row(caller, member))
            .collect(),
        more_sessions: signed_in.next.is_some(),
        sessions: signed_in
            .rows
            .into_iter()
            .map(|session| session_row(caller, session))
            .collect(),
        more_invitations: invited.next.map(Cursor::encode),
        is_first_invitations: parts.invitations.is_none(),
        invitations: invited.rows.into_iter().map(invitation_row).collect(),
        invitation_url: carried_invitation(state, caller, headers).await,
        roles: ROLES
            .iter()
            .rev()
            .filter(|role| caller.role.may_grant(**role))
            .map(|role| role.as_str())
            .collect(),
        usage: usage_view(state, caller).await,
        shares_answers: shares_answers(state, caller).await,
    };
    let status = if is_refused {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    let shown_once = page.invitation_url.is_some();
    let response = (status, draw(&page)?).into_response();
    if shown_once {
        return Ok(with_cookie(response, state.site.end_invitation_cookie()));
    }
    Ok(response)
}

/// Nothing for who may not change it, or if it cannot be had for the moment.
async fn shares_answers(state: &AppState, caller: &SessionOwner) -> Option<bool> {
    if !caller.role.may_manage_members() {
        return None;
    }
    let found = tokio::time::timeout(REPORT_TIMEOUT, state.services.organizations.get(caller)).await;
    found.ok()?.ok().map(|(_, settings, _)| settings.share_answers)
}

/// Nothing if the report cannot be had for the moment, which is no reason to withhold the rest; the log says why.
async fn usage_view(state: &AppState, caller: &SessionOwner) -> Option<UsageView> {
    let report = state.services.usage.report(caller, None, None);
    match tokio::time::timeout(REPORT_TIMEOUT, report).await {
        Ok(Ok(report)) => Some(usage::view(report)),
        Ok(Err(error)) => {
            tracing::warn!(target: "mapleai::pages", error = %error, cause = error.source(), "usage cannot be shown");
            None
        }
        Err(_) => {
            tracing::warn!(target: "mapleai::pages", limit = ?REPORT_TIMEOUT, "usage cannot be shown: the report took too long");
            None
        }
    }
}

/// The link that was just made. Only one of the own organisation: a cookie may have been planted.
async fn carried_invitation(state: &AppState, caller: &SessionOwner, headers: &HeaderMap) -> Option<String> {
    let token = state.site.carried_invitation(headers)?;
    state.services.invitations.find_own(caller, token).await.ok()?;
    caller
        .role
        .may_manage_members()
        .then(|| state.site.invitation_url(token))
}

fn member_row(caller: &SessionOwner, member: User) -> MemberRow {
    let choices = if caller.role.may_grant(member.role) {
        ROLES
            .iter()
            .filter(|role| caller.role.may_grant(**role))
            .map(|role| role.as_str())
            .collect()
    } else {
        Vec::new()
    };
    MemberRow {
        may_remove: !choices.is_empty() && member.id != caller.user,
        id: member.id.to_string(),
        name: member.name,
        email: member.email,
        role: member.role.as_str(),
        choices,
    }
}

fn invitation_row(invitation: Invitation) -> InvitationRow {
    InvitationRow {
        id: invitation.id.to_string(),
        email: invitation.email,
        role: invitation.role.as_str(),
        expires: Moment::day(invitation.expires_at),
    }
}

fn session_row(caller: &SessionOwner, session: Session) -> SessionRow {
    SessionRow {
        id: session.id.to_string(),
        kind: session.device.unwrap_or_else(|| {
            let kind = if session.is_browser { "Browser" } else { "Program" };
            kind.to_owned()
        }),
        last_used: session.last_used_at.map_or_else(Moment::default, Moment::minute),
        since: Moment::minute(session.created_at),
        until: Moment::minute(session.expires_at),
        is_this: session.id == caller.session,
    }
}
