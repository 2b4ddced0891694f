//! Who may hold how many connections, and which one makes room.
//!
//! A connection without a request costs its holder nothing and the service a place. So one address has a share, and where
//! there is no place left the newest connection that does nothing is closed for one that has just come: those who fill the
//! listener push out themselves, and whoever is being answered is never disturbed.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use super::activity::ConnectionActivity;

/// Only so many of the newest connections are searched for an idle one: bounded work per new connection.
const IDLE_SEARCH_LIMIT: usize = 512;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct ConnectionSlots(Arc<SlotsInner>);

struct SlotsInner {
    max: usize,
    max_per_address: usize,
    /// Proxies, whose connections carry the requests of many callers.
    proxies: Vec<IpNet>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// By age.
    connections: BTreeMap<u64, Connection>,
    next: u64,
    addresses: HashMap<IpAddr, usize>,
}

struct Connection {
    address: IpAddr,
    activity: ConnectionActivity,
    close: CancellationToken,
}

/// Why a connection gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoFreeSlot {
    Address,
    Process,
}

/// The slot of one connection, until dropped.
pub(super) struct ConnectionSlot {
    slots: ConnectionSlots,
    id: u64,
}

impl ConnectionSlots {
    pub(super) fn new(max: usize, max_per_address: usize, proxies: Vec<IpNet>) -> Self {
        Self(Arc::new(SlotsInner {
            max,
            max_per_address,
            proxies,
            open: Mutex::default(),
        }))
    }

    /// A slot for a connection from `peer`. If the connection is displaced later, `close` is cancelled and the activity marked.
    pub(super) fn acquire(
        &self,
        peer: IpAddr,
        activity: &ConnectionActivity,
        close: &CancellationToken,
    ) -> Result<ConnectionSlot, NoFreeSlot> {
        let inner = &self.0;
        let address = network(peer);
        let is_proxy = inner.proxies.iter().any(|proxy| proxy.contains(&peer.to_canonical()));
        let mut open = self.open();
        let count = open.addresses.get(&address).copied().unwrap_or_default();
        if !is_proxy && count >= inner.max_per_address && !open.make_room(Some(address)) {
            return Err(NoFreeSlot::Address);
        }
        if open.connections.len() >= inner.max && !open.make_room(None) {
            return Err(NoFreeSlot::Process);
        }
        let id = open.next;
        open.next += 1;
        *open.addresses.entry(address).or_default() += 1;
        let connection = Connection {
            address,
            activity: activity.clone(),
            close: close.clone(),
        };
        open.connections.insert(id, connection);
        drop(open);
        Ok(ConnectionSlot {
            slots: self.clone(),
            id,
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Closes the newest connection that does nothing, of this address or of all.
    fn make_room(&mut self, address: Option<IpAddr>) -> bool {
        let newest = self.connections.iter().rev().take(IDLE_SEARCH_LIMIT);
        let mut idle = newest.filter(|(_, connection)| {
            address.is_none_or(|address| address == connection.address) && connection.activity.is_idle()
        });
        let Some(id) = idle.next().map(|(id, _)| *id) else {
            return false;
        };
        if let Some(connection) = self.remove(id) {
            connection.activity.displace();
            connection.close.cancel();
        }
        true
    }

    fn remove(&mut self, id: u64) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        if let Some(count) = self.addresses.get_mut(&connection.address) {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&connection.address);
            }
        }
        Some(connection)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        // Not there any more where it had to make room.
        self.slots.open().remove(self.id);
    }
}

/// What is counted as one: an IPv4 address, or what a provider gives one customer of IPv6 (RFC 6177: a /64 at the least).
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionActivity, ConnectionSlot, ConnectionSlots, NoFreeSlot};
    use tokio_util::sync::CancellationToken;

    struct Client {
        activity: ConnectionActivity,
        close: CancellationToken,
        slot: Result<ConnectionSlot, NoFreeSlot>,
    }

    fn come(slots: &ConnectionSlots, peer: &str) -> Client {
        let (activity, close) = (ConnectionActivity::default(), CancellationToken::new());
        let slot = slots.acquire(peer.parse().unwrap(), &activity, &close);
        Client { activity, close, slot }
    }

    #[test]
    fn one_address_has_its_share_and_makes_room_for_itself() {
        let slots = ConnectionSlots::new(10, 2, vec!["10.0.0.0/8".parse().unwrap()]);
        let (first, second) = (come(&slots, "192.0.2.1"), come(&slots, "192.0.2.1"));
        let busy = (first.activity.begin(), second.activity.begin());
        assert_eq!(come(&slots, "192.0.2.1").slot.err(), Some(NoFreeSlot::Address));
        drop(busy.1);
        let third = come(&slots, "192.0.2.1");
        assert!(third.slot.is_ok() && second.close.is_cancelled() && !first.close.is_cancelled());
        assert!(come(&slots, "192.0.2.2").slot.is_ok());
        let behind_proxy: Vec<_> = (0..5).map(|_| come(&slots, "10.1.2.3")).collect();
        assert!(
            behind_proxy
                .iter()
                .all(|client| client.slot.is_ok() && !client.close.is_cancelled())
        );
    }

    #[test]
    fn the_newest_that_does_nothing_makes_room_when_all_is_full() {
        let slots = ConnectionSlots::new(3, 3, Vec::new());
        let clients: Vec<_> = (1..=3).map(|n| come(&slots, &format!("192.0.2.{n}"))).collect();
        let busy = clients[2].activity.begin();
        assert!(come(&slots, "192.0.2.9").slot.is_ok());
        let closed: Vec<_> = clients.iter().map(|client| client.close.is_cancelled()).collect();
        assert_eq!(closed, [false, true, false]);
        drop(busy);
    }

    #[test]
    fn whoever_is_answered_is_not_disturbed_and_places_come_back() {
        let slots = ConnectionSlots::new(2, 2, Vec::new());
        let clients: Vec<_> = (1..=2).map(|n| come(&slots, &format!("192.0.2.{n}"))).collect();
        let busy: Vec<_> = clients.iter().map(|client| client.activity.begin()).collect();
        assert_eq!(come(&slots, "192.0.2.9").slot.err(), Some(NoFreeSlot::Process));
        drop(clients);
        assert!(slots.open().connections.is_empty() && slots.open().addresses.is_empty());
        assert!(come(&slots, "192.0.2.9").slot.is_ok());
        drop(busy);
    }

    #[test]
    fn neighbours_in_a_network_of_version_6_are_one() {
        let slots = ConnectionSlots::new(10, 1, Vec::new());
        let one = come(&slots, "2001:db8::1");
        let busy = one.activity.begin();
        assert_eq!(come(&slots, "2001:db8::ffff:2").slot.err(), Some(NoFreeSlot::Address));
        assert!(come(&slots, "2001:db8:0:1::1").slot.is_ok());
        drop(busy);
    }
}
