//! `[migrations]`: what has to be shown before the schema changes, and how carefully it is changed.

pub mod window;

use std::time::Duration;

use serde::Deserialize;

use super::load::schema::{DAY, Field, HOUR, Kind, MILLISECOND, Rule, SECOND, required};
pub use window::Window;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrationsConfig {
    pub review: Review,
    /// When production is migrated; none is never, but by an explanation.
    pub window: Vec<Window>,
    /// Makes a backup and says so in the last line of its output; words, without a shell.
    pub backup_command: Vec<String>,
    /// An older backup is none.
    #[serde(with = "humantime_serde")]
    pub backup_max_age: Duration,
    /// How long a lock is tried for, in short tries, before the run is given up.
    #[serde(with = "humantime_serde")]
    pub lock_limit: Duration,
    /// A replica that is behind by more stops the run between two migrations.
    #[serde(with = "humantime_serde")]
    pub max_lag: Duration,
    pub max_lag_bytes: u64,
}

/// Whether a run needs the digest of a plan that somebody has reviewed, and a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Review {
    None,
    Required,
}

pub(super) const FIELDS: &[Field] = &[
    required("review", Kind::Choice(&["none", "required"])),
    required(
        "window",
        Kind::Texts(Rule {
            allowed: "days, a time in UTC and a length of at most a day, such as \"Mon-Thu 22:00 for 4h\" or \"daily 02:30 for 90m\"",
            holds: |text| text.parse::<Window>().is_ok(),
        }),
    ),
    required(
        "backup_command",
        Kind::Texts(Rule {
            allowed: "a word of a command, such as \"/opt/backup\"",
            holds: |word| !word.is_empty() && !word.contains('\0'),
        }),
    ),
    required("backup_max_age", Kind::Span(SECOND, DAY)),
    required("lock_limit", Kind::Span(MILLISECOND, HOUR)),
    required("max_lag", Kind::Span(MILLISECOND, DAY)),
    required("max_lag_bytes", Kind::Number(0, 1 << 50)),
];
