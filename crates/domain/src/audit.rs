//! An organisation's audit log: who did what to what, from where, and what it was before and after.
//!
//! An event holds ids and settings, and no text that a person wrote: names and addresses are looked up when the log is read, so that
//! erasing them where they are kept erases them here. [`Facts`] has no place for a secret.

mod action;
mod facts;

use std::{net::IpAddr, str::FromStr, sync::Arc};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ids::{ApiKeyId, AuditEventId, ConversationId, InvitationId, OrganizationId, SessionId, UserId};
pub use action::{Action, UnknownAction};
pub use facts::{Fact, Facts};

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A person who was signed in.
    User(UserId),
    /// A program. Keys change nothing that is audited so far.
    ApiKey(ApiKeyId),
    /// Whoever holds the operations token, or runs `mapleai` at the command line.
    Operator,
    /// MapleAI itself, such as a limit on sessions or a time that something is kept.
    System,
    /// Somebody who is not signed in.
    Unknown,
}

impl Actor {
    /// The kinds that have no id, by which they are filtered.
    pub const WITHOUT_ID: [&'static str; 3] = ["operator", "system", "unknown"];

    pub fn kind(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::ApiKey(_) => "api_key",
            Self::Operator => "operator",
            Self::System => "system",
            Self::Unknown => "unknown",
        }
    }

    pub fn id(self) -> Option<Uuid> {
        match self {
            Self::User(user) => Some(user.0),
            Self::ApiKey(key) => Some(key.0),
            Self::Operator | Self::System | Self::Unknown => None,
        }
    }
}

/// What something was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    Organization(OrganizationId),
    Member(UserId),
    ApiKey(ApiKeyId),
    Invitation(InvitationId),
    Session(SessionId),
    Conversation(ConversationId),
    /// More than one, which are counted in [`AuditEvent::after`].
    Conversations,
    /// The organisation's remembered answers.
    Cache,
}

impl Target {
    pub fn kind(self) -> &'static str {
        match self {
            Self::Organization(_) => "organization",
            Self::Member(_) => "member",
            Self::ApiKey(_) => "api_key",
            Self::Invitation(_) => "invitation",
            Self::Session(_) => "session",
            Self::Conversation(_) => "conversation",
            Self::Conversations => "conversations",
            Self::Cache => "cache",
        }
    }

    pub fn id(self) -> Option<Uuid> {
        match self {
            Self::Organization(id) => Some(id.0),
            Self::Member(id) => Some(id.0),
            Self::ApiKey(id) => Some(id.0),
            Self::Invitation(id) => Some(id.0),
            Self::Session(id) => Some(id.0),
            Self::Conversation(id) => Some(id.0),
            Self::Conversations | Self::Cache => None,
        }
    }
}

/// The circumstances of a change: who makes it, by which request, and from where. What the events of one request have in common.
#[derive(Debug, Clone)]
pub struct Act {
    pub actor: Actor,
    /// The client's, not the one of a proxy before us; nothing for what no request asks for.
    pub address: Option<IpAddr>,
    pub request_id: Option<Arc<str>>,
}

impl Act {
    /// Of MapleAI itself, for no request.
    pub fn of_system() -> Self {
        Self {
            actor: Actor::System,
            address: None,
            request_id: None,
        }
    }

    /// An event of an organisation. The address is the acting person's.
    pub fn event(
        &self,
        organization: OrganizationId,
        action: Action,
        target: Target,
        now: DateTime<Utc>,
    ) -> AuditEvent {
        let of = match self.actor {
            Actor::User(user) => Some(user),
            _ => None,
        };
        AuditEvent {
            id: AuditEventId::at(now),
            organization,
            occurred_at: now,
            action,
            actor: self.actor,
            target,
            before: Facts::default(),
            after: Facts::default(),
            request_id: self.request_id.clone(),
            address: self.address.zip(of),
            occurrences: 1,
        }
    }

    /// The same for somebody who is not the actor, but whose sign-in or session it concerns: the address goes with that person.
    pub fn event_about(
        &self,
        person: UserId,
        organization: OrganizationId,
        action: Action,
        target: Target,
        now: DateTime<Utc>,
    ) -> AuditEvent {
        AuditEvent {
            address: self.address.map(|address| (address, person)),
            ..self.event(organization, action, target, now)
        }
    }
}

/// One event, as it is written.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    pub id: AuditEventId,
    pub organization: OrganizationId,
    pub occurred_at: DateTime<Utc>,
    pub action: Action,
    pub actor: Actor,
    pub target: Target,
    pub before: Facts,
    pub after: Facts,
    pub request_id: Option<Arc<str>>,
    /// The client's address, and the person with whom it is erased.
    pub address: Option<(IpAddr, UserId)>,
    /// More than one where a flood is told in one event.
    pub occurrences: u32,
}

impl AuditEvent {
    #[must_use]
    pub fn before(mut self, name: &'static str, fact: impl Into<Fact>) -> Self {
        self.before.add(name, fact);
        self
    }

    #[must_use]
    pub fn after(mut self, name: &'static str, fact: impl Into<Fact>) -> Self {
        self.after.add(name, fact);
        self
    }
}

/// One event, as it is read: the names are those of this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedEvent {
    pub id: AuditEventId,
    pub occurred_at: DateTime<Utc>,
    pub action: String,
    pub actor: Party,
    pub target: Party,
    pub before: Option<serde_json::Value>,
    pub after: Option<serde_json::Value>,
    pub request_id: Option<String>,
    pub address: Option<String>,
    pub occurrences: u64,
}

/// A side of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    pub kind: String,
    pub id: Option<Uuid>,
    /// A person's name or e-mail address, a key's name; nothing for what has none or is no more.
    pub name: Option<String>,
}

/// Which events are wanted; all of them by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub actor: Option<ActorFilter>,
    pub action: Option<Action>,
    /// The first moment, included.
    pub from: Option<DateTime<Utc>>,
    /// The moment after the last.
    pub to: Option<DateTime<Utc>>,
}

/// An actor by id, or by kind where the kind has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorFilter(String);

impl ActorFilter {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<UserId> for ActorFilter {
    fn from(user: UserId) -> Self {
        Self(user.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of a person or an API key, or one of {}", Actor::WITHOUT_ID.join(", "))]
pub struct UnknownActor;

impl FromStr for ActorFilter {
    type Err = UnknownActor;

    fn from_str(text: &str) -> Result<Self, UnknownActor> {
        if Actor::WITHOUT_ID.contains(&text) {
            return Ok(Self(text.to_owned()));
        }
        // As PostgreSQL writes it, however it was written here.
        let id = Uuid::try_parse(text).map_err(|_| UnknownActor)?;
        Ok(Self(id.as_hyphenated().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Act, Action, Actor, ActorFilter, Target};
    use crate::ids::{OrganizationId, UserId};
    use chrono::{TimeZone, Utc};
    use uuid::Uuid;

    #[test]
    fn an_actor_is_filtered_by_id_or_by_kind() {
        let id = "0199A1B2-0000-7000-8000-00000000000A";
        let simple = id.replace('-', "");
        for written in [id, &id.to_lowercase(), &simple] {
            let read: ActorFilter = written.parse().unwrap();
            assert_eq!(read.as_str(), id.to_lowercase());
        }
        for kind in Actor::WITHOUT_ID {
            assert_eq!(kind.parse::<ActorFilter>().unwrap().as_str(), kind);
        }
        for wrong in ["", "user", "Operator", "ada@maple.example"] {
            assert!(wrong.parse::<ActorFilter>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_belongs_to_a_person_or_is_not_kept() {
        let (user, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let (organization, now) = (
            OrganizationId(Uuid::from_u128(3)),
            Utc.timestamp_opt(1_790_000_000, 0).unwrap(),
        );
        let from = "192.0.2.7".parse().unwrap();
        let act = |actor| Act {
            actor,
            address: Some(from),
            request_id: None,
        };
        let event = |act: Act| act.event(organization, Action::SessionSignedIn, Target::Member(user), now);
        assert_eq!(event(act(Actor::User(user))).address, Some((from, user)));
        assert_eq!(event(act(Actor::Unknown)).address, None);
        assert_eq!(event(act(Actor::Operator)).address, None);
        let about = act(Actor::Unknown).event_about(
            other,
            organization,
            Action::SessionSignInFailed,
            Target::Member(other),
            now,
        );
        assert_eq!(about.address, Some((from, other)));
    }
}
