//! Success and failure counts of a provider's recent calls, from which its health is derived. Costs one atomic per call.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Older calls do not count.
pub const WINDOW: Duration = Duration::from_secs(30);
const SLOTS: usize = 6;
const SLOT: Duration = Duration::from_secs(5);

/// Counts of calls in the last [`WINDOW`], in slots of five seconds.
///
/// A slot is one word: its number (24 bits), succeeded calls and failed calls (20 bits each), so that counting needs no lock.
/// Counts saturate at about a million.
pub struct HealthWindow {
    started: Instant,
    slots: [AtomicU64; SLOTS],
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

const COUNT_BITS: u32 = 20;
const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;

fn pack(number: u64, recent: Recent) -> u64 {
    (number << (2 * COUNT_BITS)) | (recent.succeeded.min(MAX_COUNT) << COUNT_BITS) | recent.failed.min(MAX_COUNT)
}

fn unpack(word: u64) -> (u64, Recent) {
    let recent = Recent {
        succeeded: (word >> COUNT_BITS) & MAX_COUNT,
        failed: word & MAX_COUNT,
    };
    (word >> (2 * COUNT_BITS), recent)
}

impl Default for HealthWindow {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            slots: [const { AtomicU64::new(0) }; SLOTS],
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

    fn note_at(&self, age: Duration, succeeded: bool) {
        let number = number_of(age);
        let slot = &self.slots[usize::try_from(number).unwrap_or_default() % SLOTS];
        // Never fails: the closure always gives a value.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let (counted, mut recent) = unpack(word);
            if counted != number {
                recent = Recent::default();
            }
            if succeeded {
                recent.succeeded += 1;
            } else {
                recent.failed += 1;
            }
            Some(pack(number, recent))
        });
    }

    fn is_failing_at(&self, age: Duration) -> bool {
        let now = number_of(age);
        let slots = self.slots.iter().map(|slot| unpack(slot.load(Ordering::Relaxed)));
        let latest = slots
            .filter(|(number, _)| number + SLOTS as u64 > now)
            .max_by_key(|(number, _)| *number);
        self.recent_at(age).is_failing() || latest.is_some_and(|(_, latest)| latest.is_all_failed())
    }

    fn recent_at(&self, age: Duration) -> Recent {
        let now = number_of(age);
        let mut sum = Recent::default();
        for slot in &self.slots {
            let (number, recent) = unpack(slot.load(Ordering::Relaxed));
            if number + SLOTS as u64 > now {
                sum.succeeded += recent.succeeded;
                sum.failed += recent.failed;
            }
        }
        sum
    }
}

/// Counted from one, so that an unused slot is never the current one; wraps after two and a half years.
fn number_of(age: Duration) -> u64 {
    (age.as_secs() / SLOT.as_secs() + 1) & ((1 << (64 - 2 * COUNT_BITS)) - 1)
}

#[cfg(test)]
mod tests {
    use super::{HealthWindow, Recent, WINDOW, pack, unpack};
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
    fn counts_stop_instead_of_running_over() {
        let full = Recent {
            succeeded: 5_000_000,
            failed: 7,
        };
        let (number, recent) = unpack(pack(9, full));
        assert_eq!(
            (number, recent),
            (
                9,
                Recent {
                    succeeded: (1 << 20) - 1,
                    failed: 7
                }
            )
        );
    }
}
