//! `[usage]`: how usage records travel to the database.

use std::time::Duration;

use serde::Deserialize;

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
