//! Who waits for a shared call.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Wake, Waker},
};

/// The upstream's waker: wakes every reader, since any of them may be the one that reads on.
#[derive(Default)]
pub(super) struct Wakers {
    waiting: Mutex<BTreeMap<u64, Waker>>,
    /// How far each reader has read.
    places: Mutex<BTreeMap<u64, usize>>,
    next: AtomicU64,
}

impl Wakers {
    pub(super) fn enter(&self) -> u64 {
        let reader = self.next.fetch_add(1, Ordering::Relaxed);
        self.places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(reader, 0);
        reader
    }

    /// One who leaves may have been woken for all: the others are.
    pub(super) fn leave(&self, reader: u64) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&reader);
        self.places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&reader);
        self.wake_others(None);
    }

    pub(super) fn register(&self, reader: u64, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get_mut(&reader) {
            Some(known) => known.clone_from(waker),
            None => {
                waiting.insert(reader, waker.clone());
            }
        }
    }

    /// Notes how far a reader has come, and gives how far the last one has.
    pub(super) fn note_place(&self, reader: u64, place: usize) -> usize {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(reader, place);
        places.values().copied().min().unwrap_or(place)
    }

    /// Who is not woken goes on waiting: it may be the one that the upstream is to wake.
    pub(super) fn wake_others(&self, but: Option<u64>) {
        let woken = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let own = but.and_then(|reader| waiting.remove_entry(&reader));
            let woken = std::mem::take(&mut *waiting);
            waiting.extend(own);
            woken
        };
        for waker in woken.into_values() {
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
