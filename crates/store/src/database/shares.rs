//! Bulkheads: no kind of work, and no organisation, can take all connections.
//!
//! A locked table or a slow report keeps its connections for as long as a statement may run. Therefore each kind of work has a
//! compartment with an upper limit, and an organisation leaves some connections for others, per compartment and in total.
//! The limits add up to more than there are connections, so that idle capacity can be used. Requests wait in order of arrival.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// A kind of work on the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compartment {
    Accounts,
    ApiKeys,
    /// Work that no request waits for: usage records, sweeps, health.
    Background,
    Conversations,
    Invitations,
    Messages,
    /// Sums over many rows; each may take long.
    Reports,
    Sessions,
}

const COMPARTMENTS: usize = 8;

pub(super) struct Shares {
    all: Arc<Semaphore>,
    compartments: [Arc<Semaphore>; COMPARTMENTS],
    organizations: Arc<Organizations>,
    connections: usize,
}

/// Organisations with requests that hold a connection or wait for one, and the number of those requests.
type Organizations = Mutex<HashMap<Uuid, (usize, Arc<Organization>)>>;

struct Organization {
    all: Arc<Semaphore>,
    compartments: [Arc<Semaphore>; COMPARTMENTS],
}

/// The right to one connection, until dropped.
pub(super) struct ConnectionPermit {
    _permits: [Option<OwnedSemaphorePermit>; 4],
    _member: Option<Member>,
}

impl Compartment {
    const ALL: [Self; COMPARTMENTS] = [
        Self::Accounts,
        Self::ApiKeys,
        Self::Background,
        Self::Conversations,
        Self::Invitations,
        Self::Messages,
        Self::Reports,
        Self::Sessions,
    ];

    /// Its limit, out of `connections`: a fifth for slow or background work, half for everything else.
    fn limit(self, connections: usize) -> usize {
        match self {
            Self::Background | Self::Reports => (connections / 5).max(1),
            _ => connections.div_ceil(2),
        }
    }
}

/// An organisation's share of a limit: a quarter is left for others.
fn of_one(limit: usize) -> usize {
    limit.saturating_sub((limit / 4).max(1)).max(1)
}

fn semaphore(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count))
}

impl Shares {
    pub(super) fn new(connections: usize) -> Self {
        Self {
            all: semaphore(connections),
            compartments: Compartment::ALL.map(|kind| semaphore(kind.limit(connections))),
            organizations: Arc::default(),
            connections,
        }
    }

    /// Waits for a permit. It takes the narrowest limit first, so that a request queued behind its own organisation holds no
    /// permit that others could use.
    pub(super) async fn acquire(&self, kind: Compartment, organization: Option<Uuid>) -> ConnectionPermit {
        let member = organization.map(|id| self.join(id));
        let own = member.as_ref().map(|member| &member.organization);
        let mut permits = [const { None }; 4];
        if let Some(own) = own {
            permits[0] = take(&own.compartments[kind as usize]).await;
        }
        permits[1] = take(&self.compartments[kind as usize]).await;
        if let Some(own) = own {
            permits[2] = take(&own.all).await;
        }
        permits[3] = take(&self.all).await;
        ConnectionPermit {
            _permits: permits,
            _member: member,
        }
    }

    fn join(&self, id: Uuid) -> Member {
        let mut organizations = self.organizations.lock().unwrap_or_else(PoisonError::into_inner);
        let (members, organization) = organizations.entry(id).or_insert_with(|| {
            let own = Organization {
                all: semaphore(of_one(self.connections)),
                compartments: Compartment::ALL.map(|kind| semaphore(of_one(kind.limit(self.connections)))),
            };
            (0, Arc::new(own))
        });
        *members += 1;
        Member {
            organization: Arc::clone(organization),
            organizations: Arc::clone(&self.organizations),
            id,
        }
    }
}

/// Waits in order of arrival. The semaphores are never closed, so this returns a permit in the end.
async fn take(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_owned().await.ok()
}

/// A request that holds a connection or waits for one; the last one of an organisation removes its entry.
struct Member {
    organization: Arc<Organization>,
    organizations: Arc<Organizations>,
    id: Uuid,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut organizations = self.organizations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((members, _)) = organizations.get_mut(&self.id) {
            *members -= 1;
            if *members == 0 {
                organizations.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Compartment, ConnectionPermit, Shares};
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    /// Takes as many permits as there are without waiting.
    fn fill(shares: &Shares, kind: Compartment, organization: Option<Uuid>) -> Vec<ConnectionPermit> {
        std::iter::from_fn(|| shares.acquire(kind, organization).now_or_never()).collect()
    }

    #[test]
    fn no_kind_of_work_takes_what_another_needs() {
        let shares = Shares::new(20);
        let messages = fill(&shares, Compartment::Messages, None);
        let reports = fill(&shares, Compartment::Reports, None);
        assert_eq!((messages.len(), reports.len()), (10, 4));
        assert_eq!(fill(&shares, Compartment::Sessions, None).len(), 6);
    }

    #[test]
    fn an_organization_leaves_some_for_others_in_each_kind_and_in_all() {
        let shares = Shares::new(20);
        let (one, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let kinds = [Compartment::Messages, Compartment::Conversations, Compartment::Accounts];
        let permits: Vec<_> = kinds
            .map(|kind| fill(&shares, kind, one))
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(permits.len(), 15);
        assert_eq!(fill(&shares, Compartment::Messages, other).len(), 2);
    }

    #[test]
    fn the_smallest_pool_serves_every_kind() {
        for connections in 1..5 {
            for kind in Compartment::ALL {
                let shares = Shares::new(connections);
                assert!(!fill(&shares, kind, Some(Uuid::from_u128(1))).is_empty());
            }
        }
    }

    #[test]
    fn a_finished_or_cancelled_request_leaves_no_entry() {
        let shares = Shares::new(2);
        let one = Some(Uuid::from_u128(1));
        let permits = fill(&shares, Compartment::Messages, one);
        assert!(shares.acquire(Compartment::Messages, one).now_or_never().is_none());
        assert_eq!(shares.organizations.lock().unwrap().len(), 1);
        drop(permits);
        assert!(shares.organizations.lock().unwrap().is_empty());
        assert!(shares.acquire(Compartment::Messages, one).now_or_never().is_some());
    }
}
