//! Who renders when: so many at a time, and each organisation in one place at a time only, so that what one of them has to
//! show holds up no other.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::timeout,
};

use domain::ids::OrganizationId;

/// How long somebody waits for a turn before seeing plain text.
const WAIT_LIMIT: Duration = Duration::from_secs(2);

/// Renderings at a time: each keeps a core busy.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Two at least, so that one organisation never has all.
    Semaphore::new(cores.max(2))
});

/// Of organisations that render or wait to.
static PLACES: LazyLock<Mutex<HashMap<OrganizationId, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);

/// Ends when it is dropped.
pub(super) struct Turn {
    organization: OrganizationId,
    place: Option<OwnedSemaphorePermit>,
    _permit: SemaphorePermit<'static>,
}

impl Turn {
    /// Waits for a turn, but not for long.
    pub(super) async fn wait(organization: OrganizationId) -> Option<Self> {
        let waiting = Waiting(organization, Some(place_of(organization)));
        let turn = async {
            let place = Arc::clone(waiting.1.as_ref()?).acquire_owned().await.ok()?;
            Some((place, TURNS.acquire().await.ok()?))
        };
        let (place, turn) = timeout(WAIT_LIMIT, turn).await.ok()??;
        Some(Self {
            organization,
            place: Some(place),
            _permit: turn,
        })
    }

    /// A turn if there is one at once.
    pub(super) fn now(organization: OrganizationId) -> Option<Self> {
        let waiting = Waiting(organization, Some(place_of(organization)));
        let place = Arc::clone(waiting.1.as_ref()?).try_acquire_owned().ok()?;
        Some(Self {
            organization,
            place: Some(place),
            _permit: TURNS.try_acquire().ok()?,
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.place = None;
        forget(self.organization);
    }
}

/// Somebody who waits, and may give up.
struct Waiting(OrganizationId, Option<Arc<Semaphore>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.1 = None;
        forget(self.0);
    }
}

fn places() -> MutexGuard<'static, HashMap<OrganizationId, Arc<Semaphore>>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place_of(organization: OrganizationId) -> Arc<Semaphore> {
    let mut places = places();
    let place = places
        .entry(organization)
        .or_insert_with(|| Arc::new(Semaphore::new(1)));
    Arc::clone(place)
}

/// Keeps no place that nobody has a hand on.
fn forget(organization: OrganizationId) {
    let mut places = places();
    if places
        .get(&organization)
        .is_some_and(|place| Arc::strong_count(place) == 1)
    {
        places.remove(&organization);
    }
}

#[cfg(test)]
mod tests {
    use super::{OrganizationId, Turn, places};

    #[tokio::test(start_paused = true)]
    async fn an_organisation_has_one_turn_at_a_time_and_others_theirs() {
        let (one, other) = (OrganizationId::generate(), OrganizationId::generate());
        let turn = Turn::wait(one).await.unwrap();
        assert!(Turn::now(one).is_none());
        assert!(Turn::wait(one).await.is_none(), "waiting has a limit");
        drop(Turn::wait(other).await.unwrap());
        drop(turn);
        drop(Turn::now(one).unwrap());
        assert!(!places().contains_key(&one) && !places().contains_key(&other));
    }
}
