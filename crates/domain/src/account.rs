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

/// What an organisation has settled for all of its people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OrganizationSettings {
    /// Whether its people are given each other's answers of models.
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

/// A way in for one address, used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub id: InvitationId,
    pub organization: Organization,
    pub email: String,
    pub role: Role,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// A program's credential, without the secret, which nobody can read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub prefix: String,
    /// Who made it.
    pub maker: UserId,
    pub maker_name: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A place where somebody is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    /// In a browser, by a cookie; otherwise a program with tokens.
    pub is_browser: bool,
    /// Such as `Firefox on Windows`, where the browser said so.
    pub device: Option<String>,
    /// To within some minutes; `None` until it was.
    pub last_used_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// Who calls through a session: what each request needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOwner {
    pub session: SessionId,
    pub organization: OrganizationId,
    pub user: UserId,
    pub role: Role,
    pub expires_at: DateTime<Utc>,
    /// When the person last gave the password in this session: at signing in, or since.
    pub confirmed_at: DateTime<Utc>,
}

/// Who calls through an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOwner {
    pub key: ApiKeyId,
    pub organization: OrganizationId,
    /// Who made the key.
    pub user: UserId,
    pub expires_at: Option<DateTime<Utc>>,
}
