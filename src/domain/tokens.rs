//! Token counts, reported or estimated.

use serde::{Deserialize, Serialize};

/// What one call consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenUsage {
    pub input: u64,
    pub output: u64,
    /// True when the upstream reported nothing and the counts come from [`estimate`].
    pub estimated: bool,
}

/// Bytes of text to tokens. Common tokenisers average about four bytes a token in English and fewer in other scripts;
/// an estimate is marked as such wherever it is stored or shown.
pub fn estimate(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}
