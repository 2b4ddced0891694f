//! A bound on how often something is told.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const SECOND: Duration = Duration::from_secs(1);

/// Lets a number of lines through in each span of time, a second unless told otherwise, and counts the others.
pub struct RateLimit {
    max: u32,
    span: Duration,
    /// When the current span began, and how many lines it has seen.
    current: Mutex<Option<(Instant, u32)>>,
    suppressed: AtomicU64,
}

impl RateLimit {
    pub const fn new(max: u32) -> Self {
        Self::per(SECOND, max)
    }

    pub const fn per(span: Duration, max: u32) -> Self {
        Self {
            max,
            span,
            current: Mutex::new(None),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether to tell it, and how many have not been told since the last that was.
    pub fn allow(&self, now: Instant) -> Option<u64> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = match &mut *current {
            Some((began, seen)) if now.saturating_duration_since(*began) < self.span => seen,
            other => &mut other.insert((now, 0)).1,
        };
        *seen += 1;
        if *seen <= self.max {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RateLimit;
    use std::time::{Duration, Instant};

    #[test]
    fn a_flood_is_counted_instead_of_told() {
        let (limit, start) = (RateLimit::new(2), Instant::now());
        let allowed: Vec<_> = (0..5).map(|_| limit.allow(start)).collect();
        assert_eq!(allowed, [Some(0), Some(0), None, None, None]);
        assert_eq!(limit.allow(start + Duration::from_secs(1)), Some(3));
        assert_eq!(limit.allow(start + Duration::from_secs(1)), Some(0));

        let minutely = RateLimit::per(Duration::from_mins(1), 1);
        let allowed: Vec<_> = [0, 1, 59, 60]
            .map(|second| minutely.allow(start + Duration::from_secs(second)))
            .into();
        assert_eq!(allowed, [Some(0), None, None, Some(2)]);
    }
}
