//! `[retention]`: how long things are kept.

use std::time::Duration;

use serde::Deserialize;

use super::load::schema::{DAY, Field, HOUR, Kind, MILLISECOND, optional, required};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// Between two looks for what is over.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Conversations since the last word in them; absent means for as long as their owner keeps them.
    #[serde(default, with = "humantime_serde")]
    pub conversations: Option<Duration>,
    /// Answers since another took their place.
    #[serde(with = "humantime_serde")]
    pub replaced_answers: Duration,
    /// Records of calls; daily sums stay.
    #[serde(with = "humantime_serde")]
    pub usage_records: Duration,
    /// Invitations since they were accepted or ended.
    #[serde(with = "humantime_serde")]
    pub invitations: Duration,
    /// Keys since they were revoked or ended.
    #[serde(with = "humantime_serde")]
    pub keys: Duration,
    /// Events of the audit log.
    #[serde(with = "humantime_serde")]
    pub audit_events: Duration,
    /// How long the deletion of an organisation can be taken back.
    #[serde(with = "humantime_serde")]
    pub organization_grace: Duration,
}

const MAX_RETENTION: Duration = DAY.saturating_mul(3650);

pub(super) const FIELDS: &[Field] = &[
    required("interval", Kind::Span(MILLISECOND, DAY)),
    optional("conversations", Kind::Span(HOUR, MAX_RETENTION)),
    required("replaced_answers", Kind::Span(MILLISECOND, MAX_RETENTION)),
    required("usage_records", Kind::Span(DAY, MAX_RETENTION)),
    required("invitations", Kind::Span(MILLISECOND, MAX_RETENTION)),
    required("keys", Kind::Span(MILLISECOND, MAX_RETENTION)),
    required("audit_events", Kind::Span(DAY, MAX_RETENTION)),
    required("organization_grace", Kind::Span(MILLISECOND, DAY.saturating_mul(90))),
];
