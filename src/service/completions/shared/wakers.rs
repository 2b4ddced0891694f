//! Who waits for a shared call.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
};

/// The upstream's waker: wakes every reader, since any of them may be the one that reads on.
#[derive(Default)]
pub(super) struct Wakers {
    readers: Mutex<Readers>,
}

/// Few calls have a second reader, so a list is quicker than a map. Where there are thousands, none is looked at for each item that
/// another one reads.
#[derive(Default)]
struct Readers {
    /// By id, since they come with ascending ones.
    all: Vec<Reader>,
    entered: u64,
    /// How far the last ones have read, and how many they are.
    last: usize,
    at_last: usize,
}

struct Reader {
    id: u64,
    /// How far it has read, in items.
    place: usize,
    /// While it waits.
    waker: Option<Waker>,
}

impl Readers {
    fn find(&mut self, id: u64) -> Option<&mut Reader> {
        let index = self.all.binary_search_by_key(&id, |reader| reader.id).ok()?;
        self.all.get_mut(index)
    }

    /// One more is at `place`.
    fn arrive(&mut self, place: usize) {
        if self.at_last == 0 || place < self.last {
            (self.last, self.at_last) = (place, 1);
        } else if place == self.last {
            self.at_last += 1;
        }
    }

    /// One is not at `place` any more. True if it was the last one there, so that all had to be looked at and counted anew.
    fn depart(&mut self, place: usize) -> bool {
        if place != self.last {
            return false;
        }
        self.at_last = self.at_last.saturating_sub(1);
        if self.at_last > 0 {
            return false;
        }
        self.last = self.all.iter().map(|reader| reader.place).min().unwrap_or_default();
        self.at_last = self.all.iter().filter(|reader| reader.place == self.last).count();
        true
    }
}

impl Wakers {
    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self) -> u64 {
        let mut readers = self.readers();
        let id = readers.entered;
        readers.entered += 1;
        readers.all.push(Reader {
            id,
            place: 0,
            waker: None,
        });
        readers.arrive(0);
        id
    }

    /// One who leaves may have been woken for all: the others are.
    pub(super) fn leave(&self, reader: u64) {
        let mut readers = self.readers();
        if let Ok(index) = readers.all.binary_search_by_key(&reader, |other| other.id) {
            let place = readers.all.remove(index).place;
            readers.depart(place);
        }
        drop(readers);
        self.wake_others(None);
    }

    pub(super) fn register(&self, reader: u64, waker: &Waker) {
        if let Some(reader) = self.readers().find(reader) {
            match &mut reader.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// Notes how far a reader has come, and gives how far the last one has.
    pub(super) fn note_place(&self, reader: u64, place: usize) -> usize {
        let mut readers = self.readers();
        if let Some(reader) = readers.find(reader) {
            let before = std::mem::replace(&mut reader.place, place);
            if before != place && !readers.depart(before) {
                readers.arrive(place);
            }
        }
        if readers.all.is_empty() { place } else { readers.last }
    }

    /// Who is not woken goes on waiting: it may be the one that the upstream is to wake.
    pub(super) fn wake_others(&self, but: Option<u64>) {
        // Mostly there is one, for which no list is made.
        let (first, more) = {
            let mut readers = self.readers();
            let others = readers.all.iter_mut().filter(|reader| Some(reader.id) != but);
            let mut wakers = others.filter_map(|reader| reader.waker.take());
            (wakers.next(), wakers.collect::<Vec<_>>())
        };
        for waker in first.into_iter().chain(more) {
            waker.wake();
        }
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_others(None);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_others(None);
    }
}

#[cfg(test)]
mod tests {
    use super::Wakers;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_last_reader_is_known_whoever_comes_reads_and_leaves(steps in prop::collection::vec((0..4_u8, 0..8_usize, 0..4_usize), 0..200)) {
            let wakers = Wakers::default();
            let mut places: Vec<(u64, usize)> = Vec::new();
            for (step, who, read) in steps {
                let who = who % places.len().max(1);
                match (step, places.get(who).copied()) {
                    (0, _) | (_, None) => places.push((wakers.enter(), 0)),
                    (1, Some((id, _))) => {
                        wakers.leave(id);
                        places.remove(who);
                    }
                    (_, Some((id, place))) => {
                        places[who].1 = place + read;
                        let last = places.iter().map(|(_, place)| *place).min();
                        prop_assert_eq!(Some(wakers.note_place(id, place + read)), last);
                    }
                }
            }
        }
    }
}
