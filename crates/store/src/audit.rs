//! The audit log. Events of a change are written in its transaction, by [`record`]: both or neither.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Database, StoreError, timed_query};
use domain::{
    audit::{Action, ActorFilter, AuditEvent, AuditFilter, Party, RecordedEvent},
    ids::OrganizationId,
    page::{Cursor, Page, PageRequest},
};

#[derive(Clone)]
pub struct Audit {
    pub(super) reports: Database,
    /// For what no request waits for.
    pub(super) behind: Database,
}

/// Writes an event as part of a transaction.
pub(super) async fn record(connection: &mut PgConnection, event: &AuditEvent) -> Result<(), sqlx::Error> {
    let (address, address_of) = event.address.unzip();
    sqlx::query!(
        "INSERT INTO audit_events (id, organization_id, occurred_at, action, actor_kind, actor_id, target_kind, target_id, before,
             after, request_id, address, address_of, occurrences)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        event.id.0,
        event.organization.0,
        event.occurred_at,
        event.action.as_str(),
        event.actor.kind(),
        event.actor.id(),
        event.target.kind(),
        event.target.id(),
        event.before.to_json(),
        event.after.to_json(),
        event.request_id.as_deref(),
        address.map(|address| address.to_string()),
        address_of.map(|user| user.0),
        i64::from(event.occurrences)
    )
    .execute(connection)
    .await?;
    Ok(())
}

struct EventRow {
    id: Uuid,
    occurred_at: DateTime<Utc>,
    action: String,
    actor_kind: String,
    actor_id: Option<Uuid>,
    actor_name: Option<String>,
    target_kind: String,
    target_id: Option<Uuid>,
    target_name: Option<String>,
    before: Option<Value>,
    after: Option<Value>,
    request_id: Option<String>,
    address: Option<String>,
    occurrences: i64,
}

impl From<EventRow> for RecordedEvent {
    fn from(row: EventRow) -> Self {
        Self {
            id: row.id.into(),
            occurred_at: row.occurred_at,
            action: row.action,
            actor: Party {
                kind: row.actor_kind,
                id: row.actor_id,
                name: row.actor_name,
            },
            target: Party {
                kind: row.target_kind,
                id: row.target_id,
                name: row.target_name,
            },
            before: row.before,
            after: row.after,
            request_id: row.request_id,
            address: row.address,
            occurrences: u64::try_from(row.occurrences).unwrap_or(1),
        }
    }
}

/// One query for each set of filters, so that each goes by an index that is in the order of the list. The address of somebody who
/// has left is shown to nobody, before the sweeper has come by as well.
macro_rules! select {
    ($filter:tt, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            EventRow,
            r#"SELECT e.id, e.occurred_at, e.action, e.actor_kind, e.actor_id, e.target_kind, e.target_id, e.before, e.after,
                   e.request_id, e.occurrences,
                   COALESCE(actor.name, (SELECT k.name FROM api_keys k
                       WHERE k.organization_id = e.organization_id AND k.id = e.actor_id AND e.actor_kind = 'api_key')) AS actor_name,
                   CASE e.target_kind
                       WHEN 'member' THEN (SELECT t.name FROM users t
                           WHERE t.organization_id = e.organization_id AND t.id = e.target_id)
                       WHEN 'api_key' THEN (SELECT k.name FROM api_keys k
                           WHERE k.organization_id = e.organization_id AND k.id = e.target_id)
                       WHEN 'invitation' THEN (SELECT i.email FROM invitations i
                           WHERE i.organization_id = e.organization_id AND i.id = e.target_id)
                       WHEN 'organization' THEN (SELECT o.name FROM organizations o WHERE o.id = e.organization_id)
                   END AS target_name,
                   CASE WHEN EXISTS (SELECT FROM users a WHERE a.organization_id = e.organization_id AND a.id = e.address_of
                       AND a.removed_at IS NULL) THEN e.address END AS address
               FROM audit_events e
               LEFT JOIN users actor ON actor.organization_id = e.organization_id AND actor.id = e.actor_id
               WHERE e.organization_id = $1 AND (e.occurred_at, e.id) < ($2, $3) AND e.occurred_at >= $4"#
                + $filter
                + "ORDER BY e.occurred_at DESC, e.id DESC LIMIT $5",
            $($argument),+
        )
    };
}

impl Audit {
    /// Events of an organisation, newest first.
    pub async fn list(
        &self,
        organization: OrganizationId,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<RecordedEvent>, StoreError> {
        let (before, from) = (beginning(filter, page), filter.from.unwrap_or(Cursor::START.time()));
        let (tenant, time, id, limit) = (organization.0, before.time(), before.id, i64::from(page.limit) + 1);
        let actor = filter.actor.as_ref().map(ActorFilter::as_str);
        let action = filter.action.map(Action::as_str);
        let rows = match (actor, action) {
            (None, None) => timed_query!(self.reports, select!(" ", tenant, time, id, from, limit), fetch_all),
            (Some(actor), None) => timed_query!(
                self.reports,
                select!(
                    " AND COALESCE(e.actor_id::text, e.actor_kind) = $6 ",
                    tenant,
                    time,
                    id,
                    from,
                    limit,
                    actor
                ),
                fetch_all
            ),
            (None, Some(action)) => timed_query!(
                self.reports,
                select!(" AND e.action = $6 ", tenant, time, id, from, limit, action),
                fetch_all
            ),
            (Some(actor), Some(action)) => timed_query!(
                self.reports,
                select!(
                    " AND COALESCE(e.actor_id::text, e.actor_kind) = $6 AND e.action = $7 ",
                    tenant,
                    time,
                    id,
                    from,
                    limit,
                    actor,
                    action
                ),
                fetch_all
            ),
        }?;
        let events = rows.into_iter().map(RecordedEvent::from).collect();
        Ok(Page::cut(events, page.limit, |event: &RecordedEvent| Cursor {
            micros: event.occurred_at.timestamp_micros(),
            id: event.id.0,
        }))
    }

    /// Writes an event that no change of the database goes with. One of an organisation that is gone is let go.
    pub async fn note(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let mut connection = self.behind.checkout().await?;
        let outcome = self.behind.limit(record(connection.get(), event)).await;
        match connection.settle(outcome) {
            Err(error) if error.is_about_rows() => Ok(()),
            outcome => outcome,
        }
    }
}

/// What the list begins before: the place where the last page ended, or the end of the time that is asked for, whichever is earlier.
fn beginning(filter: &AuditFilter, page: PageRequest) -> Cursor {
    let place = page.after.unwrap_or(Cursor::END);
    let end = filter.to.map_or(Cursor::END, |to| Cursor {
        micros: to.timestamp_micros(),
        id: Uuid::nil(),
    });
    if (end.micros, end.id) < (place.micros, place.id) {
        end
    } else {
        place
    }
}
