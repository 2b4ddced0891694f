//! Loads in flight, shared by all callers that ask for the same key meanwhile.

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

/// The result of a load, for each waiting caller.
pub(super) type LoadResult<V, E> = Result<Option<V>, Arc<E>>;
pub(super) type Loading<V, E> = Shared<BoxFuture<'static, LoadResult<V, E>>>;

/// Set when a write invalidates a value while it is being loaded.
#[derive(Default)]
pub(super) struct InvalidatedFlag(AtomicBool);

impl InvalidatedFlag {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Weak: a load is cancelled when its last waiting caller is gone.
struct Flight<V, E> {
    loading: WeakShared<BoxFuture<'static, LoadResult<V, E>>>,
    invalidated: Arc<InvalidatedFlag>,
}

pub(super) struct Flights<V, E>(Mutex<HashMap<Key, Flight<V, E>>>);

/// Above this number, cancelled loads are removed first.
const MANY: usize = 256;

impl<V, E> Flights<V, E> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// The load in flight for `key`, or the one that `start` makes. The flag is true if it was in flight already.
    pub(super) fn join(
        &self,
        key: Key,
        start: impl FnOnce(Arc<InvalidatedFlag>) -> BoxFuture<'static, LoadResult<V, E>>,
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
        let invalidated = Arc::new(InvalidatedFlag::default());
        let loading = start(Arc::clone(&invalidated)).shared();
        if let Some(weak) = loading.downgrade() {
            flights.insert(
                key,
                Flight {
                    loading: weak,
                    invalidated,
                },
            );
        }
        (loading, false)
    }

    /// Removes a finished load: later callers find its stored value.
    pub(super) fn remove(&self, key: &Key, invalidated: &Arc<InvalidatedFlag>) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flights
            .get(key)
            .is_some_and(|flight| Arc::ptr_eq(&flight.invalidated, invalidated))
        {
            flights.remove(key);
        }
    }

    /// Invalidates the load in flight for `key`: the waiting callers get its value, but it is not stored.
    pub(super) fn invalidate(&self, key: &Key) {
        let flight = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(flight) = flight {
            flight.invalidated.set();
        }
    }

    pub(super) fn invalidate_all(&self, concerned: impl Fn(&Key) -> bool) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|key, flight| {
            let concerned = concerned(key);
            if concerned {
                flight.invalidated.set();
            }
            !concerned
        });
    }
}
