//! Usage records of calls, and sums over them.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{ApiKeyId, OrganizationId, UsageRecordId, UserId};
use super::model::ModelKind;
use super::money::Cost;
use super::tokens::TokenUsage;

/// How a call ended, as stored and as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// The whole answer was sent.
    Completed,
    /// The caller disconnected, or our own process was stopped: neither counts against the upstream.
    Cancelled,
    /// The upstream refused (4xx), and its response was sent.
    Refused,
    /// The upstream failed or broke off.
    Failed,
    /// The upstream took too long.
    TimedOut,
}

impl CallOutcome {
    pub const ALL: [Self; 5] = [
        Self::Completed,
        Self::Cancelled,
        Self::Refused,
        Self::Failed,
        Self::TimedOut,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// One call to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    pub id: UsageRecordId,
    pub organization: OrganizationId,
    pub user: UserId,
    pub api_key: Option<ApiKeyId>,
    pub model: std::sync::Arc<str>,
    pub provider: std::sync::Arc<str>,
    pub kind: ModelKind,
    pub outcome: CallOutcome,
    pub streamed: bool,
    pub tokens: TokenUsage,
    pub cost: Cost,
    /// Answered from the cache, or from another call's answer: it cost nothing.
    pub cached: bool,
    /// The cost without the cache.
    pub saved: Cost,
    pub latency_us: u64,
    /// From the arrival of the request to the first chunk of the answer.
    pub first_token_us: Option<u64>,
    pub created_at: DateTime<Utc>,
}

/// A sum over records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UsageTotals {
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Input tokens that the provider had cached from earlier calls.
    pub cached_input_tokens: u64,
    pub cost: Cost,
    /// Number of requests with estimated token counts.
    pub estimated_requests: u64,
    /// Number of requests that were answered from the cache.
    pub cached_requests: u64,
    /// The cost of those without the cache.
    pub saved: Cost,
}

impl std::ops::AddAssign for UsageTotals {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        // Saturates, since the counts that providers report are unbounded.
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.cost = self.cost + other.cost;
        self.estimated_requests += other.estimated_requests;
        self.cached_requests += other.cached_requests;
        self.saved = self.saved + other.saved;
    }
}

/// Sums of a span of days, by day, model and key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UsageSums {
    pub days: Vec<(NaiveDate, UsageTotals)>,
    pub models: Vec<(String, UsageTotals)>,
    pub keys: Vec<KeySum>,
}

/// The sums of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySum {
    /// `None` for calls made on the page.
    pub key: Option<ApiKeyId>,
    /// Set while the key exists.
    pub name: Option<String>,
    /// The person who created the key.
    pub owner: Option<UserId>,
    pub totals: UsageTotals,
}
