//! `[cache]`: what is remembered, for how long, and how much of it.

use std::time::Duration;

use serde::Deserialize;

use super::load::{
    check::Check,
    schema::{DAY, Field, HOUR, Kind, MILLISECOND, SECOND, required},
};

/// The longest that `answer_ttl` may be, and nothing may be kept for longer.
pub const MAX_TTL: Duration = Duration::from_hours(24 * 30);

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheConfig {
    /// Sessions and what page cookies stand for.
    #[serde(with = "humantime_serde")]
    pub session_ttl: Duration,
    /// Look-ups and reports from the database.
    #[serde(with = "humantime_serde")]
    pub query_ttl: Duration,
    /// That something does not exist.
    #[serde(with = "humantime_serde")]
    pub absent_ttl: Duration,
    /// Models' answers.
    #[serde(with = "humantime_serde")]
    pub answer_ttl: Duration,
    /// Which of them, for models that do not say.
    pub answers: AnswerCaching,
    /// Bytes in this process for sessions and look-ups together.
    pub memory_bytes: u64,
    /// The same for models' answers.
    pub answer_memory_bytes: u64,
    /// Longer answers are not kept.
    pub answer_max_bytes: u64,
    pub http: HttpCacheConfig,
}

/// How long browsers and shared caches keep what. Whole seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpCacheConfig {
    #[serde(with = "humantime_serde")]
    pub assets_max_age: Duration,
    #[serde(with = "humantime_serde")]
    pub assets_shared_max_age: Duration,
    #[serde(with = "humantime_serde")]
    pub public_max_age: Duration,
    #[serde(with = "humantime_serde")]
    pub public_shared_max_age: Duration,
    #[serde(with = "humantime_serde")]
    pub public_stale_while_revalidate: Duration,
    #[serde(with = "humantime_serde")]
    pub report_max_age: Duration,
}

/// Which answers of a model are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerCaching {
    All,
    /// To requests that ask for a repeatable answer, and embeddings.
    Deterministic,
    Off,
}

/// The choices by name, for each place where they can be made.
pub(super) const ANSWERS: Kind = Kind::Choice(&["all", "deterministic", "off"]);

pub(super) const FIELDS: &[Field] = &[
    required("session_ttl", Kind::Span(SECOND, DAY)),
    required("query_ttl", Kind::Span(SECOND, DAY)),
    required("absent_ttl", Kind::Span(MILLISECOND, HOUR)),
    required("answer_ttl", Kind::Span(SECOND, MAX_TTL)),
    required("answers", ANSWERS),
    required("memory_bytes", Kind::Number(0, 1 << 40)),
    required("answer_memory_bytes", Kind::Number(0, 1 << 40)),
    required("answer_max_bytes", Kind::Number(1024, 64 << 20)),
    required("http", Kind::Section(HTTP_FIELDS)),
];

const YEAR: Duration = Duration::from_hours(24 * 365);

pub(super) const HTTP_FIELDS: &[Field] = &[
    required("assets_max_age", Kind::Span(Duration::ZERO, YEAR)),
    required("assets_shared_max_age", Kind::Span(Duration::ZERO, YEAR)),
    required("public_max_age", Kind::Span(Duration::ZERO, DAY)),
    required("public_shared_max_age", Kind::Span(Duration::ZERO, DAY)),
    required("public_stale_while_revalidate", Kind::Span(Duration::ZERO, DAY)),
    required("report_max_age", Kind::Span(Duration::ZERO, DAY)),
];

impl CacheConfig {
    pub(super) fn validate(&self, check: &mut Check) {
        if self.absent_ttl > self.query_ttl && !check.is_refused(["cache", "query_ttl"]) {
            check.refuse(
                ["cache", "absent_ttl"],
                "must not be above cache.query_ttl: what does not exist may come to be",
            );
        }
    }
}
