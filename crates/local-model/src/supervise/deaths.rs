//! When a server that died is started again, and when no more.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

const WINDOW: Duration = Duration::from_mins(1);
const MAX_IN_WINDOW: usize = 3;
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Deaths of the server that were not asked for.
#[derive(Debug)]
pub(super) struct Deaths {
    first_wait: Duration,
    recent: VecDeque<Instant>,
}

impl Deaths {
    pub(super) fn new(first_wait: Duration) -> Self {
        Self {
            first_wait,
            recent: VecDeque::new(),
        }
    }

    /// How long to wait before the next start: doubled with each death of the last minute. Nothing: the third within a minute.
    pub(super) fn add(&mut self, now: Instant) -> Option<Duration> {
        self.recent.retain(|death| now.duration_since(*death) < WINDOW);
        self.recent.push_back(now);
        let count = self.recent.len();
        if count >= MAX_IN_WINDOW {
            return None;
        }
        let doubled = u32::try_from(count - 1)
            .ok()
            .and_then(|times| 2_u32.checked_pow(times))
            .unwrap_or(u32::MAX);
        Some(self.first_wait.saturating_mul(doubled).min(MAX_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_the_third_death_within_a_minute_is_the_last() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut deaths = Deaths::new(second);
        assert_eq!(deaths.add(start), Some(second));
        assert_eq!(deaths.add(start + 10 * second), Some(2 * second));
        assert_eq!(deaths.add(start + 59 * second), None);
    }

    #[test]
    fn deaths_that_are_far_apart_are_each_the_first() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut deaths = Deaths::new(second);
        for minute in 0..10 {
            assert_eq!(deaths.add(start + minute * 61 * second), Some(second));
        }
    }
}
