//! Which parts of the key space are not worth asking.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::cache::key::slot_of;

/// Of a cluster's 16,384 slots: fine enough that a shard's neighbours do not suffer with it, few enough to look at.
pub(super) const PARTS: usize = 256;
const SLOTS: usize = 16_384;

pub(super) struct Breakers {
    parts: Vec<Part>,
    open: std::sync::Arc<AtomicUsize>,
}

pub(super) struct Part {
    open: AtomicBool,
    open_parts: std::sync::Arc<AtomicUsize>,
    probe_key: String,
}

impl Breakers {
    pub(super) fn new(parts: usize) -> Self {
        let open = std::sync::Arc::new(AtomicUsize::new(0));
        Self {
            parts: probe_keys(parts)
                .into_iter()
                .map(|probe_key| Part {
                    open: AtomicBool::new(false),
                    open_parts: std::sync::Arc::clone(&open),
                    probe_key,
                })
                .collect(),
            open,
        }
    }

    pub(super) fn part(&self, slot: u16) -> &Part {
        &self.parts[usize::from(slot) * self.parts.len() / SLOTS]
    }

    pub(super) fn any_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    pub(super) fn open_parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.is_open())
    }
}

impl Part {
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn open(&self) {
        if !self.open.swap(true, Ordering::Relaxed) {
            self.open_parts.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn close(&self) {
        if self.open.swap(false, Ordering::Relaxed) {
            self.open_parts.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A name that lies in this part; nothing is ever stored under it.
    pub(super) fn probe_key(&self) -> &str {
        &self.probe_key
    }
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
    use super::{Breakers, PARTS};
    use crate::cache::key::slot_of;

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
        let one = Breakers::new(1);
        assert!(std::ptr::eq(one.part(0), one.part(16_383)));
    }
}
