//! How long `run` waits for what.

use std::time::Duration;

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Before the first start after a death; doubled after the next.
    pub back_off: Duration,
    /// From a start to the first answer.
    pub loading: Duration,
    /// Between attempts at fetching that failed.
    pub attempts: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            back_off: Duration::from_secs(1),
            loading: Duration::from_mins(2),
            attempts: Duration::from_mins(5),
        }
    }
}

impl Times {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parsed: Vec<u64> = text.split(',').map_while(|part| part.parse().ok()).collect();
        match parsed[..] {
            [back_off, loading, attempts] => Ok(Self {
                back_off: Duration::from_millis(back_off),
                loading: Duration::from_millis(loading),
                attempts: Duration::from_millis(attempts),
            }),
            _ => Err("write three numbers of milliseconds with commas between".to_owned()),
        }
    }
}
