//! The page of the audit log, for owners and admins.

mod row;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{draw, viewer};
use crate::{
    api_error::ApiError,
    auth::extract::CurrentUser,
    http::{
        audit::{Asked, End},
        extract::{Parameters, read_cursor},
    },
    web::{
        Site,
        views::{AuditPage, Choice},
    },
};
use domain::{
    account::User,
    audit::{Action, AuditFilter, RecordedEvent},
    page::{Cursor, Page, PageRequest},
};
use people::{accounts::Accounts, audit::Audit};

/// Events on one page, and people in the menu: others are reached by their names in the list.
const LISTED: u16 = 50;
const PEOPLE: u16 = 100;

/// The filters. An empty field of the form is one that was left out.
#[derive(Default, Deserialize)]
pub(super) struct AuditPageQuery {
    #[serde(default)]
    actor: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    cursor: Option<String>,
}

pub(super) async fn audit(
    State(accounts): State<Accounts>,
    State(audit): State<Audit>,
    State(site): State<Site>,
    CurrentUser(caller): CurrentUser,
    Parameters(query): Parameters<AuditPageQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = read_cursor(query.cursor.as_deref())?;
    let asked = Asked {
        actor: given(&query.actor),
        action: given(&query.action),
        from: given(&query.from),
        to: given(&query.to),
    };
    let (filter, faults) = match asked.read(day) {
        Ok(filter) => (filter, Vec::new()),
        Err(faults) => (AuditFilter::default(), faults),
    };
    let page = PageRequest { limit: LISTED, after };
    let listed = audit.list(&caller, &filter, page).await?;
    // With a filter that was refused, nothing that was not asked for.
    let listed = if faults.is_empty() {
        listed
    } else {
        Page::cut(Vec::new(), LISTED, |_| Cursor::END)
    };
    let everybody = PageRequest {
        limit: PEOPLE,
        after: None,
    };
    let people = accounts.list(caller.organization, everybody).await?;
    let status = if faults.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let body = AuditPage {
        viewer: viewer(&accounts, &site, &caller, &headers).await?,
        faults: faults
            .into_iter()
            .map(|fault| format!("{} {}.", label(&fault.field), fault.message))
            .collect(),
        actors: actors(&query.actor, people.rows, &listed),
        actions: actions(&query.action),
        is_filtered: filter != AuditFilter::default() || status != StatusCode::OK,
        older: listed.next.map(|cursor| query.address(Some(cursor))),
        newest: after.map(|_| query.address(None)),
        events: listed.rows.into_iter().map(row::row).collect(),
        from: query.from,
        to: query.to,
    };
    Ok((status, draw(&body)?).into_response())
}

impl AuditPageQuery {
    /// The page with the same filters, from a place in the list on.
    fn address(&self, cursor: Option<Cursor>) -> String {
        let cursor = cursor.map(Cursor::encode).unwrap_or_default();
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("actor", &self.actor),
            ("action", &self.action),
            ("from", &self.from),
            ("to", &self.to),
            ("cursor", &cursor),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        format!("/audit?{}", query.finish())
    }
}

fn given(field: &str) -> Option<&str> {
    Some(field.trim()).filter(|field| !field.is_empty())
}

fn label(field: &str) -> &str {
    match field {
        "actor" => "Who",
        "action" => "What",
        "from" => "From",
        "to" => "To",
        other => other,
    }
}

/// A day of UTC: its beginning, or where the next one begins.
fn day(text: &str, end: End) -> Result<DateTime<Utc>, &'static str> {
    let day = text.parse::<NaiveDate>().ok();
    let day = if end == End::To {
        day.and_then(|day| day.checked_add_days(Days::new(1)))
    } else {
        day
    };
    let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    day.map(midnight).ok_or("must be a day, such as 2026-11-30")
}

/// The menu of who can be filtered by: people, what is nobody, and whoever is filtered by already.
fn actors(chosen: &str, people: Vec<User>, listed: &Page<RecordedEvent>) -> Vec<Choice> {
    let choice = |value: String, words: String| Choice {
        is_chosen: value == chosen,
        value,
        words,
    };
    let mut choices = vec![choice(String::new(), "Anybody".to_owned())];
    let people = people.into_iter();
    choices.extend(people.map(|person| choice(person.id.to_string(), format!("{} ({})", person.name, person.email))));
    for kind in ["operator", "system", "unknown"] {
        choices.push(choice(kind.to_owned(), row::actor_label(kind).to_owned()));
    }
    if !choices.iter().any(|choice| choice.is_chosen) {
        let name = listed.rows.first().and_then(|event| event.actor.name.clone());
        choices.push(choice(chosen.to_owned(), name.unwrap_or_else(|| chosen.to_owned())));
    }
    choices
}

fn actions(chosen: &str) -> Vec<Choice> {
    let anything = Choice {
        value: String::new(),
        words: "Anything".to_owned(),
        is_chosen: chosen.is_empty(),
    };
    let all = Action::ALL.iter().map(|action| Choice {
        value: action.as_str().to_owned(),
        words: action.words().to_owned(),
        is_chosen: action.as_str() == chosen,
    });
    std::iter::once(anything).chain(all).collect()
}
