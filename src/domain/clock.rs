//! Time as an argument, so that a test can turn the hands.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

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
        (Utc::now() + TimeDelta::milliseconds(offset)).trunc_subsecs(6)
    }

    /// Moves an adjustable clock forward; does nothing to the system's.
    pub fn advance(&self, by: std::time::Duration) {
        if let Some(offset) = &self.offset {
            offset.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }
}
