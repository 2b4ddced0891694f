//! Which parts of the key space are not worth asking.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::key::slot_of;

/// Of a cluster's 16,384 slots: fine enough that a shard's neighbours do not suffer with it, few enough to look at.
pub(super) const PARTS: usize = 256;
const SLOTS: usize = 16_384;

/// So many calls in a row must have had no answer, over [`LATE_SPAN`] or more: one that is late says nothing of the next, nor do
/// several that one pause made late.
const LATE_CALLS: u32 = 3;
const LATE_SPAN: Duration = Duration::from_millis(50);

pub(super) struct Breakers {
    parts: Vec<Part>,
    counts: Arc<Counts>,
}

/// How many parts are in which state.
#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    suspected: AtomicUsize,
    refusing: AtomicUsize,
}

pub(super) struct Part {
    open: AtomicBool,
    /// Calls without an answer since the last that had one, and when the first of them ended: nanoseconds since `made`.
    late: AtomicU32,
    late_since: AtomicU64,
    /// The last write was refused, though there was an answer.
    refusing: AtomicBool,
    made: Instant,
    counts: Arc<Counts>,
    probe_key: String,
}

impl Breakers {
    pub(super) fn new(parts: usize) -> Self {
        let counts = Arc::<Counts>::default();
        let made = Instant::now();
        Self {
            parts: probe_keys(parts)
                .into_iter()
                .map(|probe_key| Part {
                    open: AtomicBool::new(false),
                    late: AtomicU32::new(0),
                    late_since: AtomicU64::new(0),
                    refusing: AtomicBool::new(false),
                    made,
                    counts: Arc::clone(&counts),
                    probe_key,
                })
                .collect(),
            counts,
        }
    }

    pub(super) fn part(&self, slot: u16) -> &Part {
        &self.parts[usize::from(slot) * self.parts.len() / SLOTS]
    }

    /// The `index`-th, round and round.
    pub(super) fn at(&self, index: usize) -> &Part {
        &self.parts[index % self.parts.len()]
    }

    pub(super) fn any_open(&self) -> bool {
        self.counts.open.load(Ordering::Relaxed) > 0
    }

    pub(super) fn any_suspected(&self) -> bool {
        self.counts.suspected.load(Ordering::Relaxed) > 0
    }

    pub(super) fn any_refusing(&self) -> bool {
        self.counts.refusing.load(Ordering::Relaxed) > 0
    }

    pub(super) fn open_parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.is_open())
    }

    pub(super) fn suspected_parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.is_suspected() && !part.is_open())
    }

    pub(super) fn refusing_parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.refusing.load(Ordering::Relaxed))
    }
}

impl Part {
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    fn is_suspected(&self) -> bool {
        self.late.load(Ordering::Relaxed) > 0
    }

    pub(super) fn open(&self) {
        count(&self.open, true, &self.counts.open);
    }

    pub(super) fn close(&self) {
        self.note_answer();
        count(&self.open, false, &self.counts.open);
    }

    /// It answers.
    pub(super) fn note_answer(&self) {
        // Looked at first: all calls share this, and hardly any finds something to change.
        if self.is_suspected() && self.late.swap(0, Ordering::Relaxed) > 0 {
            self.counts.suspected.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A call that could wait for as long as calls do had no answer.
    pub(super) fn note_late(&self) {
        let now = u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let late = self.late.fetch_add(1, Ordering::Relaxed) + 1;
        if late == 1 {
            self.late_since.store(now, Ordering::Relaxed);
            self.counts.suspected.fetch_add(1, Ordering::Relaxed);
        }
        let span = Duration::from_nanos(now.saturating_sub(self.late_since.load(Ordering::Relaxed)));
        if late >= LATE_CALLS && span >= LATE_SPAN {
            self.open();
        }
    }

    /// Whether it takes writes. True if that has changed.
    pub(super) fn note_writable(&self, is_writable: bool) -> bool {
        self.refusing.load(Ordering::Relaxed) == is_writable
            && count(&self.refusing, !is_writable, &self.counts.refusing)
    }

    /// A name that lies in this part; nothing that anybody reads is ever stored under it.
    pub(super) fn probe_key(&self) -> &str {
        &self.probe_key
    }
}

/// Sets `flag`, and keeps count of those that are set. True if it was not so before.
fn count(flag: &AtomicBool, value: bool, count: &AtomicUsize) -> bool {
    let changed = flag.swap(value, Ordering::Relaxed) != value;
    match (changed, value) {
        (true, true) => _ = count.fetch_add(1, Ordering::Relaxed),
        (true, false) => _ = count.fetch_sub(1, Ordering::Relaxed),
        (false, _) => {}
    }
    changed
}

/// For each part a key of one of its slots. Found by trying, once.
fn probe_keys(parts: usize) -> Vec<String> {
    let mut keys = vec![String::new(); parts];
    let mut missing = parts;
    for number in 0_u32.. {
        let name = format!("maple:probe:{number}");
        let place = &mut keys[usize::from(slot_of(name.as_bytes())) * parts / SLOTS];
        if place.is_empty() {
            *place = name;
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::{Breakers, LATE_CALLS, LATE_SPAN, PARTS};
    use crate::key::slot_of;

    #[test]
    fn every_slot_has_a_part_and_every_part_a_probe_of_its_own() {
        let breakers = Breakers::new(PARTS);
        for slot in [0, 63, 64, 8_191, 16_383] {
            let part = breakers.part(slot);
            part.open();
            part.open();
            assert!(breakers.any_open());
            let probe = slot_of(part.probe_key().as_bytes());
            assert!(std::ptr::eq(breakers.part(probe), part), "slot {slot}");
            assert_eq!(breakers.open_parts().count(), 1);
            part.close();
            part.close();
            assert!(!breakers.any_open());
        }
        assert!(std::ptr::eq(breakers.at(PARTS + 3), breakers.at(3)));
        let one = Breakers::new(1);
        assert!(std::ptr::eq(one.part(0), one.part(16_383)));
    }

    #[test]
    fn several_late_calls_in_a_row_open_it_and_one_pause_does_not() {
        let breakers = Breakers::new(1);
        let part = breakers.part(0);
        for _ in 0..10 {
            part.note_late();
            part.note_answer();
        }
        assert!(!breakers.any_open() && !breakers.any_suspected());
        // All that waited in one pause.
        for _ in 0..LATE_CALLS {
            part.note_late();
        }
        assert!(!part.is_open() || part.made.elapsed() >= LATE_SPAN);
        assert_eq!(breakers.suspected_parts().count(), usize::from(!part.is_open()));
        std::thread::sleep(LATE_SPAN);
        part.note_late();
        assert!(part.is_open());
        part.close();
        assert!(!breakers.any_open() && !breakers.any_suspected());
    }

    #[test]
    fn refusing_writes_is_counted_once_each_way() {
        let breakers = Breakers::new(PARTS);
        let part = breakers.part(7);
        assert!(!part.note_writable(true));
        assert!(part.note_writable(false) && !part.note_writable(false));
        assert!(breakers.any_refusing() && breakers.refusing_parts().count() == 1);
        assert!(part.note_writable(true) && !breakers.any_refusing());
    }
}
