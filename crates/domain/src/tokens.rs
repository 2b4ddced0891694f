//! Token counts, reported or estimated.

use serde::{Deserialize, Serialize};

/// What one call consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenUsage {
    pub input: u64,
    pub output: u64,
    /// Of the input tokens, those that the upstream had from earlier calls, at a price of their own.
    #[serde(default)]
    pub cached_input: u64,
    /// True when some of the counts come from [`estimate`], since the upstream did not report them.
    pub estimated: bool,
}

/// Bytes of text to tokens. Common tokenisers average about four bytes a token in English and fewer in other scripts;
/// an estimate is marked as such wherever it is stored or shown.
pub fn estimate(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}
