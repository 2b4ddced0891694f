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
    ids::{ApiKeyId, OrganizationId, UserId},
};
use gateway::{completions::Principal, live_calls::Credential};

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

    fn api_key(&self) -> Option<ApiKeyId> {
        match self {
            Self::Key(owner) => Some(owner.key),
            Self::Session(_) | Self::Operator => None,
        }
    }

    /// On whose account this caller's completions go.
    pub fn principal(&self) -> Option<Principal> {
        Some(Principal {
            organization: self.organization()?,
            user: self.user()?,
            api_key: self.api_key(),
            credential: match self {
                Self::Session(owner) => Credential::Session(owner.session),
                Self::Key(owner) => Credential::Key(owner.key),
                Self::Operator => return None,
            },
            until: match self {
                Self::Session(owner) => Some(owner.expires_at),
                Self::Key(owner) => owner.expires_at,
                Self::Operator => None,
            },
        })
    }
}
