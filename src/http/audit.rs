//! `/api/audit`: what was done in the caller's organisation.

use axum::{Json as JsonBody, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    body::List,
    extract::{PageQuery, Parameters},
};
use crate::{api_error::ApiError, auth::extract::CurrentUser};
use domain::field::{Faults, FieldFault};
use domain::{
    audit::{AuditFilter, Party, RecordedEvent},
    ids::AuditEventId,
    page::Cursor,
};
use people::audit::Audit;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Who did it: the id of a person or an API key, or `operator`, `system` or `unknown`.
    #[param(required = false)]
    actor: Option<String>,
    /// What was done, such as `member.role_changed`.
    #[param(required = false)]
    action: Option<String>,
    /// The first moment, included: RFC 3339, with an offset.
    #[param(required = false, value_type = Option<DateTime<Utc>>)]
    from: Option<String>,
    /// The moment after the last: RFC 3339, with an offset.
    #[param(required = false, value_type = Option<DateTime<Utc>>)]
    to: Option<String>,
    /// How many events, 1 to 100; 50 if absent.
    #[param(minimum = 1, maximum = 100, required = false)]
    limit: Option<u16>,
    /// `next_cursor` of the page before.
    #[param(required = false)]
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct PartyBody {
    /// Of an actor `user`, `api_key`, `operator`, `system` or `unknown` (somebody who is not signed in); of a target `organization`,
    /// `member`, `api_key`, `invitation`, `session`, `conversation`, `conversations` or `cache`.
    kind: String,
    /// Null where the kind says all.
    id: Option<Uuid>,
    /// As it is now: `Removed person` for people who have left; null for what has no name, or is no more.
    name: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct AuditEventBody {
    id: AuditEventId,
    occurred_at: DateTime<Utc>,
    action: String,
    actor: PartyBody,
    target: PartyBody,
    /// What was set before; null where there is nothing to tell.
    #[schema(value_type = Option<Object>)]
    before: Option<serde_json::Value>,
    /// What is set now, and what went with it; null where there is nothing to tell.
    #[schema(value_type = Option<Object>)]
    after: Option<serde_json::Value>,
    /// The `X-Request-Id` of the request; null for what no request asked for.
    request_id: Option<String>,
    /// The client's address; null for what no client asked for, and once the person has left.
    address: Option<String>,
    /// More than one where failures that were alike are told in one event: `occurred_at` is the first one's.
    occurrences: u64,
}

impl From<Party> for PartyBody {
    fn from(party: Party) -> Self {
        Self {
            kind: party.kind,
            id: party.id,
            name: party.name,
        }
    }
}

impl From<RecordedEvent> for AuditEventBody {
    fn from(event: RecordedEvent) -> Self {
        Self {
            id: event.id,
            occurred_at: event.occurred_at,
            action: event.action,
            actor: event.actor.into(),
            target: event.target.into(),
            before: event.before,
            after: event.after,
            request_id: event.request_id,
            address: event.address,
            occurrences: event.occurrences,
        }
    }
}

/// The filters of a query, as they were written.
#[derive(Default)]
pub(super) struct Asked<'a> {
    pub(super) actor: Option<&'a str>,
    pub(super) action: Option<&'a str>,
    pub(super) from: Option<&'a str>,
    pub(super) to: Option<&'a str>,
}

/// Which end of a time is read: where whole days are written, the last one belongs to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    From,
    To,
}

impl Asked<'_> {
    /// What is asked for, or all that is wrong with it. `time` reads a time.
    pub(super) fn read(
        &self,
        time: impl Fn(&str, End) -> Result<DateTime<Utc>, &'static str>,
    ) -> Result<AuditFilter, Vec<FieldFault>> {
        let mut faults = Faults::default();
        let actor = self.actor.and_then(|actor| faults.check("actor", actor.parse()));
        let action = self.action.and_then(|action| faults.check("action", action.parse()));
        let from = self.from.and_then(|from| faults.check("from", time(from, End::From)));
        let to = self.to.and_then(|to| faults.check("to", time(to, End::To)));
        for (field, read) in [("from", from), ("to", to)] {
            let is_beyond = |time: DateTime<Utc>| time < Cursor::START.time() || time > Cursor::END.time();
            if read.is_some_and(is_beyond) {
                faults.add(field, "must be between the years 1970 and 9999");
            }
        }
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            faults.add("to", "must not be before `from`");
        }
        if !faults.is_empty() {
            return Err(faults.into_vec());
        }
        Ok(AuditFilter {
            actor,
            action,
            from,
            to,
        })
    }
}

/// A time in a query. The `+` of an offset that was not escaped has become a space on its way.
fn moment(text: &str, _: End) -> Result<DateTime<Utc>, &'static str> {
    let offset = text.len().checked_sub("+00:00".len());
    let escaped = match offset.and_then(|at| text.split_at_checked(at)) {
        Some((time, offset)) if offset.starts_with(' ') => format!("{time}+{}", offset.trim_start()),
        _ => text.to_owned(),
    };
    DateTime::parse_from_rfc3339(&escaped)
        .map(|time| time.to_utc())
        .map_err(|_| "must be a time with its offset from UTC (RFC 3339), such as 2026-11-30T08:00:00Z or 2026-11-30T10:00:00+02:00")
}

/// What was done in the caller's organisation, by whom and from where, newest first. For owners and admins.
#[utoipa::path(get, path = "/api/audit", tag = "Accounts", params(AuditQuery), responses((status = 200, description = "Events, as far back as they are kept", body = List<AuditEventBody>)))]
pub async fn list(
    State(audit): State<Audit>,
    CurrentUser(caller): CurrentUser,
    Parameters(query): Parameters<AuditQuery>,
) -> Result<JsonBody<List<AuditEventBody>>, ApiError> {
    let asked = Asked {
        actor: query.actor.as_deref(),
        action: query.action.as_deref(),
        from: query.from.as_deref(),
        to: query.to.as_deref(),
    };
    let filter = asked.read(moment).map_err(ApiError::invalid)?;
    let page = PageQuery::of(query.limit, query.cursor).read()?;
    Ok(JsonBody(List::of(audit.list(&caller, &filter, page).await?)))
}

#[cfg(test)]
mod tests {
    use super::{End, moment};

    #[test]
    fn a_time_is_read_in_its_own_zone() {
        for written in [
            "2026-11-30T08:00:00Z",
            "2026-11-30T10:00:00+02:00",
            "2026-11-30T10:00:00 02:00",
            "2026-11-30T03:00:00-05:00",
            "2026-11-30t08:00:00.000z",
        ] {
            let read = moment(written, End::From).unwrap();
            assert_eq!(read.to_rfc3339(), "2026-11-30T08:00:00+00:00", "{written}");
        }
        for wrong in [
            "",
            "2026-11-30",
            "2026-11-30T08:00:00",
            "yesterday",
            "ä 02:00",
            "2026-13-30T08:00:00Z",
        ] {
            assert!(moment(wrong, End::To).is_err(), "{wrong}");
        }
    }
}
