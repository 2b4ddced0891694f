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

/// Few calls have a second reader, so a list is quicker than a map.
#[derive(Default)]
struct Readers {
    all: Vec<Reader>,
    entered: u64,
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
        self.all.iter_mut().find(|reader| reader.id == id)
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
        id
    }

    /// One who leaves may have been woken for all: the others are.
    pub(super) fn leave(&self, reader: u64) {
        self.readers().all.retain(|other| other.id != reader);
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
            reader.place = place;
        }
        readers.all.iter().map(|reader| reader.place).min().unwrap_or(place)
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
