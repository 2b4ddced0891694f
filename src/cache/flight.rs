//! Loads under way, shared by whoever asks for the same key meanwhile.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

use super::key::Key;

/// What comes of a load, for each of those who wait.
pub(super) type Outcome<V, E> = Result<Option<V>, Arc<E>>;
pub(super) type Loading<V, E> = Shared<BoxFuture<'static, Outcome<V, E>>>;

/// Whether what is being loaded has been overtaken by a write.
#[derive(Default)]
pub(super) struct Overtaken(AtomicBool);

impl Overtaken {
    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Weak, since a load lives as long as somebody waits for it: when the last has gone away it ends.
struct Flight<V, E> {
    loading: WeakShared<BoxFuture<'static, Outcome<V, E>>>,
    overtaken: Arc<Overtaken>,
}

pub(super) struct Flights<V, E>(Mutex<HashMap<Key, Flight<V, E>>>);

/// Beyond so many, those that nobody waits for any more are cleared away first.
const MANY: usize = 256;

impl<V, E> Flights<V, E> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// The load under way for `key`, or the one that `start` makes. Tells whether it was under way.
    pub(super) fn join(
        &self,
        key: Key,
        start: impl FnOnce(Arc<Overtaken>) -> BoxFuture<'static, Outcome<V, E>>,
    ) -> (Loading<V, E>, bool)
    where
        V: Clone,
    {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loading) = flights.get(&key).and_then(|flight| flight.loading.upgrade()) {
            return (loading, true);
        }
        if flights.len() >= MANY {
            flights.retain(|_, flight| flight.loading.upgrade().is_some());
        }
        let overtaken = Arc::new(Overtaken::default());
        let loading = start(Arc::clone(&overtaken)).shared();
        if let Some(weak) = loading.downgrade() {
            flights.insert(
                key,
                Flight {
                    loading: weak,
                    overtaken,
                },
            );
        }
        (loading, false)
    }

    /// The load is done: who asks from now on finds what was kept.
    pub(super) fn land(&self, key: &Key, overtaken: &Arc<Overtaken>) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flights
            .get(key)
            .is_some_and(|flight| Arc::ptr_eq(&flight.overtaken, overtaken))
        {
            flights.remove(key);
        }
    }

    /// What is being loaded for `key` is for those who wait already, and is not kept.
    pub(super) fn overtake(&self, key: &Key) {
        let flight = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(flight) = flight {
            flight.overtaken.set();
        }
    }

    pub(super) fn overtake_all(&self, concerned: impl Fn(&Key) -> bool) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|key, flight| {
            let concerned = concerned(key);
            if concerned {
                flight.overtaken.set();
            }
            !concerned
        });
    }
}
