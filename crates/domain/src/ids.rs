//! One type per kind of id, so that a user's id can never stand where an organisation's is meant.
//!
//! Ids are UUIDv7: they sort by creation time, which keyset paging relies on.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::{NoContext, Timestamp, Uuid};

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, carrying the present time in its upper bits.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// A new id for what happened at `time`. Unlike generated ones, those of the same millisecond are in no order.
            pub fn at(time: DateTime<Utc>) -> Self {
                let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
                let time = Timestamp::from_unix(NoContext, seconds, time.timestamp_subsec_nanos());
                Self(Uuid::new_v7(time))
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

id! {
    /// The tenant. First argument of every tenant-owned query.
    OrganizationId,
    UserId,
    SessionId,
    ApiKeyId,
    InvitationId,
    ConversationId,
    MessageId,
    UsageRecordId,
    AuditEventId,
}

#[cfg(test)]
mod tests {
    use super::UsageRecordId;
    use chrono::{TimeZone, Utc};

    #[test]
    fn an_id_for_a_time_carries_it_and_is_new() {
        let time = Utc.timestamp_opt(1_790_000_000, 123_456_789).unwrap();
        let (one, other) = (UsageRecordId::at(time), UsageRecordId::at(time));
        assert_ne!(one, other);
        for id in [one, other] {
            assert_eq!(
                (id.0.get_version_num(), id.0.get_variant()),
                (7, uuid::Variant::RFC4122)
            );
            assert_eq!(id.0.get_timestamp().unwrap().to_unix(), (1_790_000_000, 123_000_000));
        }
    }
}
