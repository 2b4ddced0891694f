//! `[usage]`: how usage records travel to the database.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::load::{
    check::Check,
    schema::{Field, HOUR, Kind, MILLISECOND, MINUTE, Rule, SECOND, optional, required},
};

/// Usage records in one batch at most, whatever is configured.
pub const LARGEST_BATCH: usize = 10_000;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageConfig {
    /// Records waiting for the database. When full, new completions are refused rather than served unrecorded.
    pub queue_capacity: usize,
    /// A batch is written when it has so many records, with what else has come by then.
    pub batch_size: usize,
    /// A record waits no longer than this for its batch to fill.
    #[serde(with = "humantime_serde")]
    pub flush_interval: Duration,
    /// Where records are kept until the database has them. Absent: in memory only.
    #[serde(default)]
    pub journal_dir: Option<PathBuf>,
    /// Bytes that this process keeps there at most.
    pub journal_max_bytes: u64,
    /// Whether the folder is there for the next start.
    pub journal_outlives_stop: bool,
    /// How long a process that stops tries to bring records to the database.
    #[serde(with = "humantime_serde")]
    pub stop_timeout: Duration,
}

pub(super) const FIELDS: &[Field] = &[
    required("queue_capacity", Kind::Number(1, 10_000_000)),
    required("batch_size", Kind::Number(1, LARGEST_BATCH as u64)),
    required("flush_interval", Kind::Span(MILLISECOND, MINUTE)),
    optional(
        "journal_dir",
        Kind::Text(Rule {
            allowed: "the path of a folder, such as \"/var/lib/mapleai/journal\"",
            holds: |path| !path.trim().is_empty() && !path.contains(char::is_control),
        }),
    ),
    required("journal_max_bytes", Kind::Number(1024 * 1024, 1 << 40)),
    required("journal_outlives_stop", Kind::Flag),
    required("stop_timeout", Kind::Span(SECOND, HOUR)),
];

impl UsageConfig {
    pub(super) fn validate(&self, check: &mut Check) {
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
