//! Time as an argument, so that a test can turn the hands.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::SystemTime,
};

use chrono::{DateTime, Utc};

/// Wall-clock time. Durations are measured with `Instant`, which does not jump; this is for stored and signed times.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Milliseconds added to the system's time; `None` outside tests.
    offset: Option<Arc<AtomicI64>>,
}

impl Clock {
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that [`Clock::advance`] can move.
    pub fn adjustable() -> Self {
        Self {
            offset: Some(Arc::default()),
        }
    }

    /// In microseconds, PostgreSQL's resolution: a time must not change by being stored.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where everybody else's time comes from"
    )]
    pub fn now(&self) -> DateTime<Utc> {
        let offset = self.offset.as_ref().map_or(0, |offset| offset.load(Ordering::Relaxed));
        utc(SystemTime::now(), offset.saturating_mul(1000))
    }

    /// Moves an adjustable clock forward; does nothing to the system's.
    pub fn advance(&self, by: std::time::Duration) {
        if let Some(offset) = &self.offset {
            offset.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }
}

/// As `Utc::now` does it, but for a clock that stands before 1970, at which that panics. The offset is in microseconds.
fn utc(time: SystemTime, offset: i64) -> DateTime<Utc> {
    let micros = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    };
    DateTime::from_timestamp_micros(micros.saturating_add(offset)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::utc;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_clock_before_1970_is_read() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(1_500);
        assert_eq!(utc(before, 0).timestamp_micros(), -1_500_000);
        let after = SystemTime::UNIX_EPOCH + Duration::from_micros(7);
        assert_eq!(utc(after, 2).timestamp_micros(), 9);
    }
}
