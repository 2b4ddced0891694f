//! `[usage]`: how usage records travel to the database.

use std::time::Duration;

use serde::Deserialize;

use super::load::{
    check::Check,
    schema::{Field, MILLISECOND, MINUTE, number, required, span},
};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageConfig {
    /// Records waiting for the database. When full, new completions are refused rather than served unrecorded.
    pub queue_capacity: usize,
    /// Records per insert.
    pub batch_size: usize,
    /// A record waits no longer than this for its batch to fill.
    #[serde(with = "humantime_serde")]
    pub flush_interval: Duration,
}

pub(super) const FIELDS: &[Field] = &[
    required("queue_capacity", number(1, 10_000_000)),
    required("batch_size", number(1, 10_000)),
    required("flush_interval", span(MILLISECOND, MINUTE)),
];

impl UsageConfig {
    pub(super) fn validate(&self, check: &mut Check<'_>) {
        if self.batch_size > self.queue_capacity && !check.is_refused(["usage", "queue_capacity"]) {
            check.refuse(
                ["usage", "batch_size"],
                format!(
                    "must not be above usage.queue_capacity, which is {}",
                    self.queue_capacity
                ),
            );
        }
    }
}
