//! Organisations, their people, and the credentials they hold.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{ApiKeyId, InvitationId, OrganizationId, SessionId, UserId};
use super::role::Role;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: String,
}

/// Settings of an organisation for all of its people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OrganizationSettings {
    /// Whether its people may get each other's cached model answers.
    pub share_answers: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub organization: Organization,
    pub email: String,
    pub name: String,
    pub role: Role,
    pub created_at: DateTime<Utc>,
}

/// An invitation for one address, used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub id: InvitationId,
    pub organization: Organization,
    pub email: String,
    pub role: Role,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// A program's credential without the secret, which is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub prefix: String,
    /// The person who created it.
    pub maker: UserId,
    pub maker_name: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

/// One signed-in device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    /// A browser with a cookie; otherwise a program with tokens.
    pub is_browser: bool,
    /// Such as `Firefox on Windows`, if the browser sent it.
    pub device: Option<String>,
    /// Accurate to some minutes; `None` before the first use.
    pub last_used_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// The caller of a session: what each request needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOwner {
    pub session: SessionId,
    pub organization: OrganizationId,
    pub user: UserId,
    pub role: Role,
    pub expires_at: DateTime<Utc>,
    /// When the person last entered the password in this session: at signing in, or since.
    pub confirmed_at: DateTime<Utc>,
}

/// The caller of an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOwner {
    pub key: ApiKeyId,
    pub organization: OrganizationId,
    /// The person who created the key.
    pub user: UserId,
    pub expires_at: Option<DateTime<Utc>>,
}
