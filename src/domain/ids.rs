//! One type per kind of id, so that a user's id can never stand where an organisation's is meant.
//!
//! Ids are UUIDv7: they sort by creation time, which keyset paging relies on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

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
}
