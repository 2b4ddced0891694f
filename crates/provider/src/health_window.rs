//! Success and failure counts of a provider's recent calls, from which its health is derived. Costs one short lock per call.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Older calls do not count.
pub const WINDOW: Duration = Duration::from_secs(30);
const SLOTS: usize = 6;
const SLOT: Duration = Duration::from_secs(5);

/// Counts of calls in the last [`WINDOW`], in slots of five seconds.
pub struct HealthWindow {
    started: Instant,
    slots: Mutex<[Slot; SLOTS]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Which five seconds since the start, counted from one: an unused slot has 0.
    number: u64,
    counts: Recent,
}

/// The counts within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recent {
    pub succeeded: u64,
    pub failed: u64,
}

impl Recent {
    /// No calls.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// At least every second call failed.
    pub fn is_failing(self) -> bool {
        self.failed > 0 && self.failed >= self.succeeded
    }

    /// Several calls failed and none succeeded: too many for chance.
    fn is_all_failed(self) -> bool {
        self.succeeded == 0 && self.failed >= 3
    }
}

impl Default for HealthWindow {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            slots: Mutex::default(),
        }
    }
}

impl HealthWindow {
    /// A call that ended `now`.
    pub fn note(&self, succeeded: bool, now: Instant) {
        self.note_at(now.saturating_duration_since(self.started), succeeded);
    }

    pub fn recent(&self) -> Recent {
        self.recent_at(self.started.elapsed())
    }

    /// Whether the provider is failing: at least half of the calls in the window failed, or all calls of the latest slot that
    /// has any.
    pub fn is_failing(&self) -> bool {
        self.is_failing_at(self.started.elapsed())
    }

    fn slots(&self) -> MutexGuard<'_, [Slot; SLOTS]> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_at(&self, age: Duration, succeeded: bool) {
        let number = number_of(age);
        let mut slots = self.slots();
        let slot = &mut slots[usize::try_from(number).unwrap_or_default() % SLOTS];
        if slot.number != number {
            *slot = Slot {
                number,
                counts: Recent::default(),
            };
        }
        if succeeded {
            slot.counts.succeeded += 1;
        } else {
            slot.counts.failed += 1;
        }
    }

    /// The slots within the window.
    fn within(&self, age: Duration) -> impl Iterator<Item = Slot> + use<> {
        let now = number_of(age);
        let slots = *self.slots();
        slots.into_iter().filter(move |slot| slot.number + SLOTS as u64 > now)
    }

    fn is_failing_at(&self, age: Duration) -> bool {
        let latest = self.within(age).max_by_key(|slot| slot.number);
        self.recent_at(age).is_failing() || latest.is_some_and(|latest| latest.counts.is_all_failed())
    }

    fn recent_at(&self, age: Duration) -> Recent {
        self.within(age).fold(Recent::default(), |sum, slot| Recent {
            succeeded: sum.succeeded + slot.counts.succeeded,
            failed: sum.failed + slot.counts.failed,
        })
    }
}

/// Counted from one, so that an unused slot is never the current one.
fn number_of(age: Duration) -> u64 {
    age.as_secs() / SLOT.as_secs() + 1
}

#[cfg(test)]
mod tests {
    use super::{HealthWindow, Recent, WINDOW};
    use std::time::Duration;

    #[test]
    fn calls_are_counted_and_forgotten() {
        let outcomes = HealthWindow::default();
        let at = Duration::from_secs;
        assert!(outcomes.recent_at(at(0)).is_empty());
        for _ in 0..3 {
            outcomes.note_at(at(100), true);
        }
        outcomes.note_at(at(107), false);
        let both = Recent {
            succeeded: 3,
            failed: 1,
        };
        assert_eq!(outcomes.recent_at(at(107)), both);
        assert!(!both.is_failing());
        assert_eq!(outcomes.recent_at(at(124)), both);
        // The slot from 100 to 105 is past, the one from 105 to 110 is not.
        let failed = Recent {
            succeeded: 0,
            failed: 1,
        };
        assert_eq!(outcomes.recent_at(at(134)), failed);
        assert!(failed.is_failing());
        assert!(outcomes.recent_at(at(107) + WINDOW + at(5)).is_empty());
        // A slot that is used again starts from nothing.
        outcomes.note_at(at(160), true);
        assert_eq!(
            outcomes.recent_at(at(160)),
            Recent {
                succeeded: 1,
                failed: 0
            }
        );
    }

    /// A provider that dies after many good calls, and that nobody asks again.
    #[test]
    fn the_latest_calls_outweigh_those_before_them() {
        let outcomes = HealthWindow::default();
        let at = Duration::from_secs;
        for _ in 0..20 {
            outcomes.note_at(at(101), true);
        }
        for failed in 1..=3 {
            assert!(!outcomes.is_failing_at(at(111)), "{failed} may be chance");
            outcomes.note_at(at(111), false);
        }
        assert!(outcomes.is_failing_at(at(111)) && outcomes.is_failing_at(at(130)));
        for _ in 0..4 {
            outcomes.note_at(at(131), true);
        }
        assert!(!outcomes.is_failing_at(at(131)));
    }

    #[test]
    fn calls_of_many_threads_are_all_counted() {
        let outcomes = HealthWindow::default();
        std::thread::scope(|threads| {
            for thread in 0..4 {
                let outcomes = &outcomes;
                threads.spawn(move || {
                    for _ in 0..10_000 {
                        outcomes.note_at(Duration::from_secs(7), thread > 0);
                    }
                });
            }
        });
        let all = Recent {
            succeeded: 30_000,
            failed: 10_000,
        };
        assert_eq!(outcomes.recent_at(Duration::from_secs(7)), all);
    }
}
