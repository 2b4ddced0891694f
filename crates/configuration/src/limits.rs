//! `[limits]`: how many of what one person and one organisation may have.

use serde::Deserialize;

use super::load::schema::{Field, Kind, required};

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// API keys that are neither revoked nor expired.
    pub keys_per_person: u32,
    pub keys_per_organization: u32,
    /// Invitations that can still be accepted.
    pub invitations_per_person: u32,
    pub invitations_per_organization: u32,
    /// The same for one e-mail address within an organisation.
    pub invitations_per_address: u32,
    pub conversations_per_person: u32,
    /// Where a person is signed in at a time. At the next sign-in the oldest session ends.
    pub sessions_per_person: u32,
}

const MAX: u64 = 1_000_000;

pub(super) const FIELDS: &[Field] = &[
    required("keys_per_person", Kind::Number(1, MAX)),
    required("keys_per_organization", Kind::Number(1, MAX)),
    required("invitations_per_person", Kind::Number(1, MAX)),
    required("invitations_per_organization", Kind::Number(1, MAX)),
    required("invitations_per_address", Kind::Number(1, MAX)),
    required("conversations_per_person", Kind::Number(1, MAX)),
    required("sessions_per_person", Kind::Number(1, MAX)),
];
