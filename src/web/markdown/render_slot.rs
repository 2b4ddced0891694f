//! Bounds renderings: a few at a time, and one per organisation, so that no organisation delays another.

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

/// Longest wait for a slot; after it the text is shown unrendered.
const WAIT_LIMIT: Duration = Duration::from_secs(2);

/// Renderings at a time: each keeps a core busy.
static RENDERINGS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Two at least, so that one organisation never has all.
    Semaphore::new(cores.max(2))
});

/// One semaphore per organisation that renders or waits to.
static BY_ORGANIZATION: LazyLock<Mutex<HashMap<OrganizationId, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);

/// The right to render, until dropped.
pub(super) struct RenderSlot {
    organization: OrganizationId,
    organization_permit: Option<OwnedSemaphorePermit>,
    _permit: SemaphorePermit<'static>,
}

impl RenderSlot {
    /// Waits for a slot, at most [`WAIT_LIMIT`].
    pub(super) async fn wait(organization: OrganizationId) -> Option<Self> {
        let waiting = Waiting(organization, Some(semaphore_of(organization)));
        let slot = async {
            let organization_permit = Arc::clone(waiting.1.as_ref()?).acquire_owned().await.ok()?;
            Some((organization_permit, RENDERINGS.acquire().await.ok()?))
        };
        let (organization_permit, slot) = timeout(WAIT_LIMIT, slot).await.ok()??;
        Some(Self {
            organization,
            organization_permit: Some(organization_permit),
            _permit: slot,
        })
    }

    /// A slot if one is free.
    pub(super) fn now(organization: OrganizationId) -> Option<Self> {
        let waiting = Waiting(organization, Some(semaphore_of(organization)));
        let organization_permit = Arc::clone(waiting.1.as_ref()?).try_acquire_owned().ok()?;
        Some(Self {
            organization,
            organization_permit: Some(organization_permit),
            _permit: RENDERINGS.try_acquire().ok()?,
        })
    }
}

impl Drop for RenderSlot {
    fn drop(&mut self) {
        self.organization_permit = None;
        forget(self.organization);
    }
}

/// A waiting request, which may be cancelled.
struct Waiting(OrganizationId, Option<Arc<Semaphore>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.1 = None;
        forget(self.0);
    }
}

fn by_organization() -> MutexGuard<'static, HashMap<OrganizationId, Arc<Semaphore>>> {
    BY_ORGANIZATION.lock().unwrap_or_else(PoisonError::into_inner)
}

fn semaphore_of(organization: OrganizationId) -> Arc<Semaphore> {
    let mut by_organization = by_organization();
    let organization_permit = by_organization
        .entry(organization)
        .or_insert_with(|| Arc::new(Semaphore::new(1)));
    Arc::clone(organization_permit)
}

/// Removes an organisation's semaphore that no request uses.
fn forget(organization: OrganizationId) {
    let mut by_organization = by_organization();
    if by_organization
        .get(&organization)
        .is_some_and(|organization_permit| Arc::strong_count(organization_permit) == 1)
    {
        by_organization.remove(&organization);
    }
}

#[cfg(test)]
mod tests {
    use super::{OrganizationId, RenderSlot, by_organization};

    #[tokio::test(start_paused = true)]
    async fn an_organisation_has_one_slot_and_others_have_theirs() {
        let (one, other) = (OrganizationId::generate(), OrganizationId::generate());
        let slot = RenderSlot::wait(one).await.unwrap();
        assert!(RenderSlot::now(one).is_none());
        assert!(RenderSlot::wait(one).await.is_none(), "waiting has a limit");
        drop(RenderSlot::wait(other).await.unwrap());
        drop(slot);
        drop(RenderSlot::now(one).unwrap());
        assert!(!by_organization().contains_key(&one) && !by_organization().contains_key(&other));
    }
}
