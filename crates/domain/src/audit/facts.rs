//! What something was, or is now.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A value that an event tells. There is none for text that comes from outside: no secret, name or message can get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    /// Of a set that the program knows, such as the name of a role.
    Word(&'static str),
    Flag(bool),
    Count(u64),
    Id(Uuid),
    Time(DateTime<Utc>),
    Nothing,
}

impl From<&'static str> for Fact {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<bool> for Fact {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Fact {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Fact {
    fn from(count: usize) -> Self {
        Self::Count(u64::try_from(count).unwrap_or(u64::MAX))
    }
}

impl From<Uuid> for Fact {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

impl From<DateTime<Utc>> for Fact {
    fn from(time: DateTime<Utc>) -> Self {
        Self::Time(time)
    }
}

impl<T: Into<Fact>> From<Option<T>> for Fact {
    fn from(fact: Option<T>) -> Self {
        fact.map_or(Self::Nothing, Into::into)
    }
}

impl From<Fact> for Value {
    fn from(fact: Fact) -> Self {
        match fact {
            Fact::Word(word) => word.into(),
            Fact::Flag(flag) => flag.into(),
            Fact::Count(count) => count.into(),
            Fact::Id(id) => id.to_string().into(),
            Fact::Time(time) => time.to_rfc3339_opts(SecondsFormat::Secs, true).into(),
            Fact::Nothing => Self::Null,
        }
    }
}

/// Some facts, each with a name. Their number is bounded by the code that adds them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Facts(Vec<(&'static str, Fact)>);

impl Facts {
    pub(super) fn add(&mut self, name: &'static str, fact: impl Into<Fact>) {
        self.0.push((name, fact.into()));
    }

    /// A JSON object; nothing if there are no facts.
    pub fn to_json(&self) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        let facts = self
            .0
            .iter()
            .map(|(name, fact)| ((*name).to_owned(), Value::from(*fact)));
        Some(Value::Object(facts.collect::<Map<_, _>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Fact, Facts};
    use chrono::{TimeZone, Utc};
    use serde_json::json;

    #[test]
    fn facts_are_told_as_json() {
        let mut facts = Facts::default();
        assert_eq!(facts.to_json(), None);
        facts.add("role", "admin");
        facts.add("sessions", 2_usize);
        facts.add("shared", true);
        facts.add("expires_at", Utc.timestamp_opt(1_790_000_000, 5).unwrap());
        facts.add("heir", None::<Fact>);
        let json = json!({
            "role": "admin", "sessions": 2, "shared": true, "expires_at": "2026-09-21T14:13:20Z", "heir": null
        });
        assert_eq!(facts.to_json(), Some(json));
    }
}
