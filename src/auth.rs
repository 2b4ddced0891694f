//! Who calls. The gate recognises callers and refuses everybody else; the extractors hand handlers what the gate found.
//!
//! Denied by default: a route is open only if the route table says so, and whatever is in the table needs a caller of
//! the kind it names.

pub mod access;
pub mod authenticator;
pub mod csrf;
pub mod extract;

use domain::{
    account::{KeyOwner, SessionOwner},
    ids::{OrganizationId, UserId},
    principal::Principal,
};

/// Who was recognised. Placed in the request by the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Session(SessionOwner),
    Key(KeyOwner),
    Operator,
}

impl Caller {
    pub fn organization(&self) -> Option<OrganizationId> {
        match self {
            Self::Session(owner) => Some(owner.organization),
            Self::Key(owner) => Some(owner.organization),
            Self::Operator => None,
        }
    }

    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Session(owner) => Some(owner.user),
            Self::Key(owner) => Some(owner.user),
            Self::Operator => None,
        }
    }

    /// On whose account this caller's completions go.
    pub fn principal(&self) -> Option<Principal> {
        match self {
            Self::Session(owner) => Some(owner.into()),
            Self::Key(owner) => Some(owner.into()),
            Self::Operator => None,
        }
    }
}
