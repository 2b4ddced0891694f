//! What is cached. One list, so that a reader sees every class with its lifetime and what ends it early.

use std::time::Duration;

/// A kind of cached answer. Also a metric label, a part of every key, and what an operator names to purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Session id -> its owner and role. Ended by signing out, a new password, a change of role.
    Session,
    /// A page's cookie -> the session it stands for, which is what is ended.
    Cookie,
    /// Digest of an API key -> its owner. Ended by revoking the key.
    ApiKey,
    /// User -> name, role and organisation. Ended by a change of either.
    Profile,
    /// Organisation -> what it has settled for its people. Ended by a change of it.
    Organization,
    /// User -> the newest conversations. Ended by anything that happens in one.
    Conversations,
    /// Organisation and span of days that are over -> sums of usage. Late records show when it expires.
    UsageReport,
    /// A person's request to a model, or an organisation's that shares them -> the answer. Only purging ends it: the same question has the same answer.
    Answer,
}

impl Class {
    pub const ALL: [Self; 8] = [
        Self::Session,
        Self::Cookie,
        Self::ApiKey,
        Self::Profile,
        Self::Organization,
        Self::Conversations,
        Self::UsageReport,
        Self::Answer,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Cookie => "cookie",
            Self::ApiKey => "api_key",
            Self::Profile => "profile",
            Self::Organization => "organization",
            Self::Conversations => "conversations",
            Self::UsageReport => "usage_report",
            Self::Answer => "answer",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// Whether a write can make a cached value wrong. Such values are valid for long only while the channel between
    /// processes is up.
    pub fn is_mutable(self) -> bool {
        self != Self::Answer
    }

    /// Whether a hit late in an entry's life reloads it in the background. Never for values that cost money.
    pub fn is_refreshed_early(self) -> bool {
        matches!(
            self,
            Self::ApiKey | Self::Profile | Self::Organization | Self::Conversations | Self::UsageReport
        )
    }
}

/// How values of one class are stored.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub ttl: Duration,
    /// Lifetime of "there is none".
    pub absent_ttl: Duration,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Bytes of the largest value that there is sure to be room for, if it and its bookkeeping fit into nine tenths of memory.
    pub largest: u64,
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn names_lead_back_and_differ() {
        for class in Class::ALL {
            assert_eq!(Class::of(class.as_str()), Some(class));
        }
        assert_eq!(Class::of("answers"), None);
    }
}
