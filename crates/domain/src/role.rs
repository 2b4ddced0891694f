//! What a user may do inside the own organisation.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Ordered by power. An *operator* is not a role: whoever holds the operations token is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Member,
    Admin,
    Owner,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// From the least power to the most.
    pub const ALL: [Self; 3] = [Self::Member, Self::Admin, Self::Owner];

    /// The names of the roles that `which` holds of, for queries.
    pub fn names(which: impl Fn(Self) -> bool) -> Vec<String> {
        Self::ALL
            .into_iter()
            .filter(|role| which(*role))
            .map(|role| role.as_str().to_owned())
            .collect()
    }

    /// Invite people and change the roles of others.
    pub fn may_manage_members(self) -> bool {
        self >= Self::Admin
    }

    /// Only an owner makes owners or takes that role away; an admin hands out what is below owner.
    pub fn may_grant(self, role: Role) -> bool {
        self.may_manage_members() && role <= self
    }
}

/// A stored role that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown role {0:?}; known: member, admin, owner")]
pub struct UnknownRole(String);

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "member" => Ok(Self::Member),
            "admin" => Ok(Self::Admin),
            "owner" => Ok(Self::Owner),
            other => Err(UnknownRole(other.to_owned())),
        }
    }
}
