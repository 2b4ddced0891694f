//! Counting in the process: attempts under a name, and the wait that too many of them cost.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use moka::sync::Cache;

use cache::counts::CountName;

/// Names remembered for each kind of limit; beyond that the least recently seen are forgotten.
const CAPACITY: u64 = 100_000;
/// The first wait is this part of the window: a minute's pause for somebody who mistyped, and each further try twice as long.
const FIRST_WAIT: u32 = 30;

struct Window {
    attempts: u32,
    last: Instant,
    /// No attempt is accepted before.
    wait_until: Instant,
}

/// So many attempts in a span of time for each name; each one more costs a wait that doubles, up to the whole span.
#[derive(Clone)]
pub struct Limit {
    windows: Cache<CountName, Arc<Mutex<Window>>>,
    window: Duration,
}

impl Limit {
    pub fn new(window: Duration) -> Self {
        Self {
            windows: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_idle(window.saturating_mul(2))
                .build(),
            window,
        }
    }

    pub fn window(&self) -> Duration {
        self.window
    }

    pub fn first_wait(&self) -> Duration {
        (self.window / FIRST_WAIT).max(Duration::from_millis(1))
    }

    /// Counts one attempt and gives how many there are; the time to wait for if it is too early, when nothing is counted.
    pub fn count(&self, name: CountName, max: u32, now: Instant) -> Result<u32, Duration> {
        let fresh = || {
            Arc::new(Mutex::new(Window {
                attempts: 0,
                last: now,
                wait_until: now,
            }))
        };
        let window = self.windows.get_with(name, fresh);
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(window.last) >= self.window {
            window.attempts = 0;
        }
        let wait = window.wait_until.saturating_duration_since(now);
        if window.attempts >= max && !wait.is_zero() {
            return Err(wait);
        }
        window.attempts += 1;
        window.last = now;
        if let Some(over) = window.attempts.checked_sub(max) {
            let wait = self.first_wait().saturating_mul(1 << over.min(30)).min(self.window);
            window.wait_until = now + wait;
        }
        Ok(window.attempts)
    }

    /// Takes one attempt back, and the wait that it brought.
    pub fn uncount(&self, name: &CountName) {
        if let Some(window) = self.windows.get(name) {
            let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
            window.attempts = window.attempts.saturating_sub(1);
            window.wait_until = window.last;
        }
    }

    /// Whether there have been `max` attempts in the last window.
    pub fn is_reached(&self, name: &CountName, max: u32, now: Instant) -> bool {
        self.windows.get(name).is_some_and(|window| {
            let window = window.lock().unwrap_or_else(PoisonError::into_inner);
            window.attempts >= max && now.saturating_duration_since(window.last) < self.window
        })
    }

    /// Counts without a wait: for what is only to be known, and not refused.
    pub fn note(&self, name: CountName, now: Instant) {
        // No attempt is beyond this, so it is always counted.
        let _ = self.count(name, u32::MAX, now);
    }
}

#[cfg(test)]
mod tests {
    use super::Limit;
    use std::time::{Duration, Instant};

    const NAME: [u8; 32] = [7; 32];

    #[test]
    fn each_attempt_too_many_costs_a_wait_twice_as_long() {
        let (limit, start) = (Limit::new(Duration::from_mins(15)), Instant::now());
        let mut now = start;
        assert_eq!(limit.count(NAME, 2, now), Ok(1));
        assert_eq!(limit.count(NAME, 2, now), Ok(2));
        for seconds in [30, 60, 120, 240, 480, 900] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(limit.count(NAME, 2, now), Err(wait), "after {:?}", now - start);
            assert_eq!(limit.count([8; 32], 2, now), Ok(1), "others do not wait");
            limit.uncount(&[8; 32]);
            now += wait;
            if seconds < 900 {
                assert!(limit.count(NAME, 2, now).is_ok());
            }
        }
        assert_eq!(
            limit.count(NAME, 2, now),
            Ok(1),
            "a window without attempts is the end of it"
        );
    }

    #[test]
    fn an_attempt_that_is_taken_back_costs_nothing() {
        let (limit, now) = (Limit::new(Duration::from_mins(15)), Instant::now());
        for _ in 0..9 {
            assert_eq!(limit.count(NAME, 1, now), Ok(1));
            limit.uncount(&NAME);
        }
        assert!(!limit.is_reached(&NAME, 1, now));
        limit.note(NAME, now);
        assert!(limit.is_reached(&NAME, 1, now));
        assert!(!limit.is_reached(&NAME, 1, now + Duration::from_mins(15)));
    }

    #[test]
    fn simultaneous_attempts_do_not_slip_through_together() {
        let (limit, now) = (Limit::new(Duration::from_mins(1)), Instant::now());
        let passed = (0..50).filter(|_| limit.count(NAME, 3, now).is_ok()).count();
        assert_eq!(passed, 3);
    }
}
