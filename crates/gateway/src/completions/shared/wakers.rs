//! The readers that wait for a shared call.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
};

/// The waker given to the upstream. It wakes every reader, since any of them can drive the call.
#[derive(Default)]
pub(super) struct Wakers {
    readers: Mutex<Readers>,
}

/// Few calls have a second reader, so a list is faster than a map. The slowest position is kept, so that thousands of readers
/// are not scanned for each item that one of them reads.
#[derive(Default)]
struct Readers {
    /// By id, since they come with ascending ones.
    all: Vec<Reader>,
    entered: u64,
    /// Position of the slowest readers, and their number.
    last: usize,
    at_last: usize,
}

struct Reader {
    id: u64,
    /// Number of items it has read.
    position: usize,
    /// While it waits.
    waker: Option<Waker>,
}

impl Readers {
    fn find(&mut self, id: u64) -> Option<&mut Reader> {
        let index = self.all.binary_search_by_key(&id, |reader| reader.id).ok()?;
        self.all.get_mut(index)
    }

    /// Counts one more reader at `position`.
    fn arrive(&mut self, position: usize) {
        if self.at_last == 0 || position < self.last {
            (self.last, self.at_last) = (position, 1);
        } else if position == self.last {
            self.at_last += 1;
        }
    }

    /// Counts one reader less at `position`. True if it was the last of the slowest, so that all were counted again.
    fn depart(&mut self, position: usize) -> bool {
        if position != self.last {
            return false;
        }
        self.at_last = self.at_last.saturating_sub(1);
        if self.at_last > 0 {
            return false;
        }
        self.last = self.all.iter().map(|reader| reader.position).min().unwrap_or_default();
        self.at_last = self.all.iter().filter(|reader| reader.position == self.last).count();
        true
    }
}

impl Wakers {
    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_reader(&self) -> u64 {
        let mut readers = self.readers();
        let id = readers.entered;
        readers.entered += 1;
        readers.all.push(Reader {
            id,
            position: 0,
            waker: None,
        });
        readers.arrive(0);
        id
    }

    /// Removes a reader and wakes the others: the wake-up for the call may have gone to the removed one only.
    pub(super) fn remove_reader(&self, reader: u64) {
        let mut readers = self.readers();
        if let Ok(index) = readers.all.binary_search_by_key(&reader, |other| other.id) {
            let position = readers.all.remove(index).position;
            readers.depart(position);
        }
        drop(readers);
        self.wake_others(None);
    }

    pub(super) fn register(&self, reader: u64, waker: &Waker) {
        if let Some(reader) = self.readers().find(reader) {
            match &mut reader.waker {
                Some(registered) => registered.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// Records a reader's position, and returns that of the slowest.
    pub(super) fn note_position(&self, reader: u64, position: usize) -> usize {
        let mut readers = self.readers();
        if let Some(reader) = readers.find(reader) {
            let before = std::mem::replace(&mut reader.position, position);
            if before != position && !readers.depart(before) {
                readers.arrive(position);
            }
        }
        if readers.all.is_empty() { position } else { readers.last }
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
            let mut readers: Vec<(u64, usize)> = Vec::new();
            for (step, who, read) in steps {
                let who = who % readers.len().max(1);
                match (step, readers.get(who).copied()) {
                    (0, _) | (_, None) => readers.push((wakers.add_reader(), 0)),
                    (1, Some((id, _))) => {
                        wakers.remove_reader(id);
                        readers.remove(who);
                    }
                    (_, Some((id, position))) => {
                        readers[who].1 = position + read;
                        let last = readers.iter().map(|(_, position)| *position).min();
                        prop_assert_eq!(Some(wakers.note_position(id, position + read)), last);
                    }
                }
            }
        }
    }
}
