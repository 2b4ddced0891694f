//! Events that no change of the database goes with, such as failed sign-ins: written behind, so that nobody waits for them and nothing
//! fails with them.
//!
//! A flood of them is told in few events: of one action at one target by one actor an instance writes one event a minute, which counts.
//! What is not written yet is lost when the process is killed; the security log has each.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};

use domain::{
    audit::{Action, Actor, AuditEvent, Facts, Target},
    ids::OrganizationId,
};

/// Between two events of a kind.
const INTERVAL: TimeDelta = TimeDelta::minutes(1);
/// Kinds of event that are remembered, of some 300 bytes each. What comes beyond is told by the security log alone.
const CAPACITY: usize = 10_000;

/// Which events are told in one.
type Kind = (OrganizationId, Action, Actor, Target, Facts);

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Behind(Arc<Mutex<HashMap<Kind, Waiting>>>);

/// Events of one kind.
#[derive(Default)]
struct Waiting {
    /// Not written yet; the first, with the number of all.
    event: Option<AuditEvent>,
    written_at: Option<DateTime<Utc>>,
}

impl Behind {
    /// Notes one that happened just now. Never waits.
    pub fn note(&self, event: AuditEvent) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = kinds.len() >= CAPACITY;
        match kinds.entry(kind_of(&event)) {
            Entry::Occupied(mut pending) => add(&mut pending.get_mut().event, event),
            Entry::Vacant(free) if !is_full => {
                free.insert(Waiting::default()).event = Some(event);
            }
            Entry::Vacant(_) => {
                tracing::debug!(target: "mapleai::audit", "too many kinds of event are waiting; one is told by the security log alone");
            }
        }
    }

    /// Those that are to be written now: the first of a kind at once, further ones a minute after the last.
    pub fn due(&self, now: DateTime<Utc>, is_last: bool) -> Vec<AuditEvent> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |waiting: &Waiting| waiting.written_at.is_none_or(|at| now - at >= INTERVAL);
        kinds.retain(|_, waiting| waiting.event.is_some() || !is_open(waiting));
        let due = kinds.values_mut().filter(|waiting| is_last || is_open(waiting));
        let taken = due.filter_map(|waiting| {
            let event = waiting.event.take()?;
            waiting.written_at = Some(now);
            Some(event)
        });
        taken.collect()
    }

    /// Takes one back that could not be written, to be tried again at the next look.
    pub fn put_back(&self, event: AuditEvent) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = kinds.entry(kind_of(&event)).or_default();
        let later = waiting.event.replace(event);
        waiting.written_at = None;
        if let Some(later) = later {
            add(&mut waiting.event, later);
        }
    }
}

fn kind_of(event: &AuditEvent) -> Kind {
    let AuditEvent {
        organization,
        action,
        actor,
        target,
        ref after,
        ..
    } = *event;
    (organization, action, actor, target, after.clone())
}

fn add(waiting: &mut Option<AuditEvent>, event: AuditEvent) {
    match waiting {
        Some(first) => first.occurrences = first.occurrences.saturating_add(event.occurrences),
        None => *waiting = Some(event),
    }
}

#[cfg(test)]
mod tests {
    use super::{Behind, CAPACITY};
    use chrono::{DateTime, TimeDelta, TimeZone, Utc};
    use domain::{
        audit::{Act, Action, Actor, AuditEvent, Target},
        ids::{OrganizationId, UserId},
    };
    use uuid::Uuid;

    fn failed(user: usize, now: DateTime<Utc>) -> AuditEvent {
        let (user, organization) = (UserId(Uuid::from_u128(user as u128)), OrganizationId(Uuid::nil()));
        let act = Act {
            actor: Actor::Unknown,
            ..Act::of_system()
        };
        act.event_about(
            user,
            organization,
            Action::SessionSignInFailed,
            Target::Member(user),
            now,
        )
    }

    fn start() -> DateTime<Utc> {
        Utc.timestamp_opt(1_790_000_000, 0).unwrap()
    }

    #[test]
    fn a_flood_is_told_in_one_event_a_minute() {
        let (behind, now) = (Behind::default(), start());
        behind.note(failed(1, now));
        assert_eq!(behind.due(now, false)[0].occurrences, 1);
        for second in 0..50 {
            behind.note(failed(1, now + TimeDelta::seconds(second)));
            assert!(behind.due(now + TimeDelta::seconds(second), false).is_empty());
        }
        let due = behind.due(now + TimeDelta::minutes(1), false);
        assert_eq!((due.len(), due[0].occurrences, due[0].occurred_at), (1, 50, now));
        // Of somebody else at once, and all of it at the end.
        behind.note(failed(2, now));
        behind.note(failed(1, now));
        assert_eq!(behind.due(now + TimeDelta::minutes(1), false).len(), 1);
        assert_eq!(behind.due(now + TimeDelta::minutes(1), false).len(), 0);
        assert_eq!(behind.due(now + TimeDelta::minutes(1), true).len(), 1);
    }

    #[test]
    fn what_could_not_be_written_is_tried_again_and_counted_on() {
        let (behind, now) = (Behind::default(), start());
        behind.note(failed(1, now));
        let event = behind.due(now, false).remove(0);
        behind.note(failed(1, now));
        behind.put_back(event);
        assert_eq!(behind.due(now, false)[0].occurrences, 2);
    }

    #[test]
    fn what_waits_is_bounded_and_forgotten_when_it_is_told() {
        let (behind, now) = (Behind::default(), start());
        for user in 0..CAPACITY + 10 {
            behind.note(failed(user, now));
        }
        assert_eq!(behind.0.lock().unwrap().len(), CAPACITY);
        assert_eq!(behind.due(now, false).len(), CAPACITY);
        assert!(behind.due(now + TimeDelta::minutes(2), false).is_empty());
        assert!(behind.0.lock().unwrap().is_empty());
    }
}
