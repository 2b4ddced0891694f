//! One event in words.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::web::{
    figures::Moment,
    views::{EventRow, PartyView},
};
use domain::audit::{Action, Party, RecordedEvent};

pub(super) fn row(event: RecordedEvent) -> EventRow {
    let mut action = event
        .action
        .parse::<Action>()
        .map_or_else(|_| event.action.clone(), |action| action.words().to_owned());
    if event.occurrences > 1 {
        action = format!("{action}, {} times", event.occurrences);
    }
    let parties = [event.actor.id, event.target.id];
    EventRow {
        time: Moment::minute(event.occurred_at),
        action,
        changes: changes(event.before.as_ref(), event.after.as_ref(), parties),
        actor: actor(event.actor),
        target: target(event.target),
        address: event.address.unwrap_or_default(),
    }
}

/// Who it was where it was no person and no key.
pub(super) fn actor_label(kind: &str) -> &'static str {
    match kind {
        "operator" => "An operator",
        "system" => "MapleAI itself",
        _ => "Somebody not signed in",
    }
}

fn actor(party: Party) -> PartyView {
    let is_named = party.name.is_some();
    let id = party.id.map(|id| id.to_string()).unwrap_or_default();
    PartyView {
        filter: if id.is_empty() { party.kind.clone() } else { id.clone() },
        words: match (party.name, party.kind.as_str()) {
            (Some(name), _) => name,
            (None, "user") => "A person".to_owned(),
            (None, "api_key") => "An API key".to_owned(),
            (None, kind) => actor_label(kind).to_owned(),
        },
        short_id: if is_named { String::new() } else { short(&id) },
        id,
    }
}

fn target(party: Party) -> PartyView {
    let kind = match party.kind.as_str() {
        "organization" => "Organisation",
        "member" => "Member",
        "api_key" => "API key",
        "invitation" => "Invitation of",
        "session" => "Session",
        "conversation" => "Conversation",
        "conversations" => "Conversations",
        "cache" => "Remembered answers",
        other => other,
    };
    let id = party.id.map(|id| id.to_string()).unwrap_or_default();
    match party.name {
        Some(name) => PartyView {
            words: format!("{kind} {name}"),
            short_id: String::new(),
            filter: String::new(),
            id,
        },
        None => PartyView {
            words: kind.trim_end_matches(" of").to_owned(),
            short_id: short(&id),
            filter: String::new(),
            id,
        },
    }
}

/// The end of an id, which differs where ids of one moment begin alike.
fn short(id: &str) -> String {
    id.rsplit('-').next().unwrap_or_default().to_owned()
}

/// What was and is, a line for each name; without counts of nothing, and without ids that stand in the row anyway.
fn changes(before: Option<&Value>, after: Option<&Value>, parties: [Option<Uuid>; 2]) -> Vec<String> {
    let none = Map::new();
    let object = |value: Option<&Value>| value.and_then(Value::as_object).unwrap_or(&none).clone();
    let (before, after) = (object(before), object(after));
    let is_told = |value: &Value| {
        let id = value.as_str().and_then(|text| Uuid::try_parse(text).ok());
        !(value.as_u64() == Some(0) || id.is_some_and(|id| parties.contains(&Some(id))))
    };
    let mut lines = Vec::new();
    for (name, was) in &before {
        let words = name.replace('_', " ");
        match after.get(name) {
            Some(is) => lines.push(format!("{words}: {} → {}", shown(was), shown(is))),
            None if is_told(was) && !was.is_null() => lines.push(format!("{words}: {}", shown(was))),
            None => {}
        }
    }
    for (name, is) in &after {
        if !before.contains_key(name) && is_told(is) && !is.is_null() {
            lines.push(format!("{}: {}", name.replace('_', " "), shown(is)));
        }
    }
    lines
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => match DateTime::parse_from_rfc3339(text) {
            Ok(time) => Moment::minute(time.with_timezone(&Utc)).text,
            Err(_) => Uuid::try_parse(text).map_or_else(|_| text.clone(), |_| short(text)),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::changes;
    use serde_json::{Value, json};
    use uuid::Uuid;

    #[test]
    fn what_has_changed_is_told_in_lines() {
        let (here, there) = (Uuid::from_u128(1), Uuid::from_u128(0xabc));
        let listed = |before: Value, after: Value| changes(Some(&before), Some(&after), [Some(here), None]);
        assert_eq!(
            listed(json!({"role": "member"}), json!({"role": "admin", "keys_revoked": 0})),
            ["role: member → admin"]
        );
        assert_eq!(
            listed(json!({"share_answers": false}), json!({"share_answers": true})),
            ["share answers: no → yes"]
        );
        assert_eq!(
            listed(
                json!({"delete_after": null}),
                json!({"delete_after": "2026-12-07T08:00:00Z"})
            ),
            ["delete after: none → 2026-12-07 08:00 UTC"]
        );
        assert_eq!(
            listed(json!({"role": "owner"}), json!({"sessions_ended": 2})),
            ["role: owner", "sessions ended: 2"]
        );
        assert_eq!(
            listed(Value::Null, json!({"owner": here, "member": there, "expires_at": null})),
            ["member: 000000000abc"]
        );
        assert!(changes(None, None, [None, None]).is_empty());
    }
}
