//! Who a call is made by, as authentication found it: all that policy asks of a caller. A team, or what somebody may call, becomes a field here.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    account::{KeyOwner, SessionOwner},
    ids::{ApiKeyId, OrganizationId, SessionId, UserId},
};

/// The credential that a call was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    Key(ApiKeyId),
    Session(SessionId),
}

impl Credential {
    /// Ids are random: those of keys and of sessions do not meet.
    pub fn id(self) -> Uuid {
        match self {
            Self::Key(key) => key.0,
            Self::Session(session) => session.0,
        }
    }
}

/// The authenticated caller: organisation, user and credential that a call is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    pub organization: OrganizationId,
    pub user: UserId,
    /// The call ends when this credential is revoked.
    pub credential: Credential,
    /// When the credential expires, if it does.
    pub until: Option<DateTime<Utc>>,
}

impl Principal {
    /// The key, if the caller is a program.
    pub fn api_key(&self) -> Option<ApiKeyId> {
        match self.credential {
            Credential::Key(key) => Some(key),
            Credential::Session(_) => None,
        }
    }
}

impl From<&SessionOwner> for Principal {
    fn from(owner: &SessionOwner) -> Self {
        Self {
            organization: owner.organization,
            user: owner.user,
            credential: Credential::Session(owner.session),
            until: Some(owner.expires_at),
        }
    }
}

impl From<&KeyOwner> for Principal {
    fn from(owner: &KeyOwner) -> Self {
        Self {
            organization: owner.organization,
            user: owner.user,
            credential: Credential::Key(owner.key),
            until: owner.expires_at,
        }
    }
}
