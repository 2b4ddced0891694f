//! The settings page: the own account, usage, members and invitations.

mod usage;

use axum::{
    Form,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;

use super::{draw, faults_of, viewer};
use crate::{
    auth::extract::CurrentUser,
    domain::{
        account::{Invitation, SessionOwner, User},
        ids::{InvitationId, UserId},
        role::Role,
    },
    failure::Failure,
    http::extract::Id,
    service::{
        Services,
        accounts::{AccountError, ProfileChange},
        invitations::InvitationError,
    },
    state::AppState,
    web::views::{FormFaults, InvitationRow, MemberRow, SettingsPage},
};

/// Highest first, as people look for them.
const ROLES: [Role; 3] = [Role::Owner, Role::Admin, Role::Member];

#[derive(Deserialize)]
pub(super) struct NameForm {
    name: String,
}

#[derive(Deserialize)]
pub(super) struct PasswordForm {
    current_password: SecretString,
    password: SecretString,
}

#[derive(Deserialize)]
pub(super) struct RoleForm {
    role: Role,
}

#[derive(Deserialize)]
pub(super) struct InviteForm {
    email: String,
    role: Role,
}

/// What a form brought about.
#[derive(Default)]
struct Outcome {
    notice: Option<String>,
    faults: FormFaults,
    invitation_url: Option<String>,
}

impl Outcome {
    fn done(notice: &str) -> Self {
        Self {
            notice: Some(notice.to_owned()),
            ..Self::default()
        }
    }

    /// The notice, or what the user can mend.
    fn of<T>(result: Result<T, AccountError>, notice: &str) -> Result<Self, Failure> {
        match result {
            Ok(_) => Ok(Self::done(notice)),
            Err(error) => Ok(Self {
                faults: faults_of(error)?,
                ..Self::default()
            }),
        }
    }
}

pub(super) async fn settings(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    show(&state, &caller, &headers, Outcome::default()).await
}

pub(super) async fn change_profile(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    headers: HeaderMap,
    Form(form): Form<NameForm>,
) -> Result<Response, Failure> {
    let change = ProfileChange {
        name: Some(form.name),
        ..ProfileChange::default()
    };
    let changed = state.services.accounts.change_profile(&caller, change).await;
    show(
        &state,
        &caller,
        &headers,
        Outcome::of(changed, "Your name is changed.")?,
    )
    .await
}

pub(super) async fn change_password(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    headers: HeaderMap,
    Form(form): Form<PasswordForm>,
) -> Result<Response, Failure> {
    let change = ProfileChange {
        password: Some(form.password),
        current_password: Some(form.current_password),
        name: None,
    };
    let changed = state.services.accounts.change_profile(&caller, change).await;
    let outcome = Outcome::of(
        changed,
        "Your password is changed. Other sessions of yours are signed out.",
    )?;
    show(&state, &caller, &headers, outcome).await
}

pub(super) async fn set_role(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<UserId>,
    headers: HeaderMap,
    Form(form): Form<RoleForm>,
) -> Result<Response, Failure> {
    let changed = state.services.accounts.set_role(&caller, id, form.role).await;
    if let Err(AccountError::NotFound) = changed {
        return Err(Failure::not_found());
    }
    show(&state, &caller, &headers, Outcome::of(changed, "The role is changed.")?).await
}

pub(super) async fn invite(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    headers: HeaderMap,
    Form(form): Form<InviteForm>,
) -> Result<Response, Failure> {
    let outcome = match state.services.invitations.create(&caller, &form.email, form.role).await {
        Ok((_, token)) => Outcome {
            invitation_url: Some(state.site.invitation_url(&token)),
            ..Outcome::default()
        },
        Err(InvitationError::Account(error)) => Outcome {
            faults: faults_of(error)?,
            ..Outcome::default()
        },
        Err(error) => return Err(error.into()),
    };
    show(&state, &caller, &headers, outcome).await
}

pub(super) async fn withdraw(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    Id(id): Id<InvitationId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    state.services.invitations.withdraw(&caller, id).await?;
    show(&state, &caller, &headers, Outcome::done("The invitation is withdrawn.")).await
}

pub(super) async fn purge_cache(
    State(state): State<AppState>,
    CurrentUser(caller): CurrentUser,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    state.services.caches.purge_own(&caller, Some("answer")).await?;
    show(
        &state,
        &caller,
        &headers,
        Outcome::done("Remembered answers are forgotten."),
    )
    .await
}

async fn show(
    state: &AppState,
    caller: &SessionOwner,
    headers: &HeaderMap,
    outcome: Outcome,
) -> Result<Response, Failure> {
    let Services {
        accounts,
        invitations,
        usage,
        ..
    } = &state.services;
    let viewer = viewer(accounts, &state.site, caller, headers).await?;
    let members = accounts.list(caller.organization).await?;
    let invited = if caller.role.may_manage_members() {
        invitations.list(caller).await?
    } else {
        Vec::new()
    };
    let report = usage.report(caller.organization, None, None).await?;
    let refused = outcome.faults.general.is_some() || !outcome.faults.fields.is_empty();
    let page = SettingsPage {
        viewer,
        notice: outcome.notice,
        faults: outcome.faults,
        members: members.into_iter().map(|member| member_row(caller, member)).collect(),
        invitations: invited.into_iter().map(invitation_row).collect(),
        invitation_url: outcome.invitation_url,
        roles: ROLES
            .iter()
            .rev()
            .filter(|role| caller.role.may_grant(**role))
            .map(|role| role.as_str())
            .collect(),
        totals: usage::row("All".to_owned(), report.totals),
        bars: usage::bars(&report),
        first_day: report.from.to_string(),
        last_day: report.to.to_string(),
        by_model: report
            .by_model
            .into_iter()
            .map(|(model, totals)| usage::row(model, totals))
            .collect(),
        by_key: report
            .by_key
            .into_iter()
            .map(|(key, (name, totals))| {
                let unnamed = if key.is_some() {
                    "a key no longer known"
                } else {
                    "the page"
                };
                usage::row(name.unwrap_or_else(|| unnamed.to_owned()), totals)
            })
            .collect(),
    };
    let status = if refused {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    Ok((status, draw(&page)?).into_response())
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
        expires: invitation.expires_at.format("%Y-%m-%d").to_string(),
    }
}
