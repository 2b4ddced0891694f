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

use super::activity::Activity;

/// So many of the newest connections are looked at for one that is idle: bounded work for each that comes.
const LOOKED_AT: usize = 512;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Places(Arc<Shared>);

struct Shared {
    max: usize,
    max_per_address: usize,
    /// Whose connections are many callers'.
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
    activity: Activity,
    close: CancellationToken,
}

/// Why a connection gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Address,
    Process,
}

/// One connection's, until dropped.
pub(super) struct Place {
    places: Places,
    id: u64,
}

impl Places {
    pub(super) fn new(max: usize, max_per_address: usize, proxies: Vec<IpNet>) -> Self {
        Self(Arc::new(Shared {
            max,
            max_per_address,
            proxies,
            open: Mutex::default(),
        }))
    }

    /// A place for a connection from `peer`. `close` is cancelled, and the activity told so, where it has to make room later.
    pub(super) fn enter(&self, peer: IpAddr, activity: &Activity, close: &CancellationToken) -> Result<Place, Full> {
        let shared = &self.0;
        let address = network(peer);
        let is_proxy = shared.proxies.iter().any(|proxy| proxy.contains(&peer.to_canonical()));
        let mut open = self.open();
        let held = open.addresses.get(&address).copied().unwrap_or_default();
        if !is_proxy && held >= shared.max_per_address && !open.make_room(Some(address)) {
            return Err(Full::Address);
        }
        if open.connections.len() >= shared.max && !open.make_room(None) {
            return Err(Full::Process);
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
        Ok(Place {
            places: self.clone(),
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
        let newest = self.connections.iter().rev().take(LOOKED_AT);
        let mut idle = newest.filter(|(_, connection)| {
            address.is_none_or(|address| address == connection.address) && connection.activity.is_idle()
        });
        let Some(id) = idle.next().map(|(id, _)| *id) else {
            return false;
        };
        if let Some(connection) = self.remove(id) {
            connection.activity.give_way();
            connection.close.cancel();
        }
        true
    }

    fn remove(&mut self, id: u64) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        if let Some(held) = self.addresses.get_mut(&connection.address) {
            *held -= 1;
            if *held == 0 {
                self.addresses.remove(&connection.address);
            }
        }
        Some(connection)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not there any more where it had to make room.
        self.places.open().remove(self.id);
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
    use super::{Activity, Full, Place, Places};
    use tokio_util::sync::CancellationToken;

    struct Client {
        activity: Activity,
        close: CancellationToken,
        place: Result<Place, Full>,
    }

    fn come(places: &Places, peer: &str) -> Client {
        let (activity, close) = (Activity::default(), CancellationToken::new());
        let place = places.enter(peer.parse().unwrap(), &activity, &close);
        Client { activity, close, place }
    }

    #[test]
    fn one_address_has_its_share_and_makes_room_for_itself() {
        let places = Places::new(10, 2, vec!["10.0.0.0/8".parse().unwrap()]);
        let (first, second) = (come(&places, "192.0.2.1"), come(&places, "192.0.2.1"));
        let busy = (first.activity.begin(), second.activity.begin());
        assert_eq!(come(&places, "192.0.2.1").place.err(), Some(Full::Address));
        drop(busy.1);
        let third = come(&places, "192.0.2.1");
        assert!(third.place.is_ok() && second.close.is_cancelled() && !first.close.is_cancelled());
        assert!(come(&places, "192.0.2.2").place.is_ok());
        let behind_proxy: Vec<_> = (0..5).map(|_| come(&places, "10.1.2.3")).collect();
        assert!(
            behind_proxy
                .iter()
                .all(|client| client.place.is_ok() && !client.close.is_cancelled())
        );
    }

    #[test]
    fn the_newest_that_does_nothing_makes_room_when_all_is_full() {
        let places = Places::new(3, 3, Vec::new());
        let clients: Vec<_> = (1..=3).map(|n| come(&places, &format!("192.0.2.{n}"))).collect();
        let busy = clients[2].activity.begin();
        assert!(come(&places, "192.0.2.9").place.is_ok());
        let closed: Vec<_> = clients.iter().map(|client| client.close.is_cancelled()).collect();
        assert_eq!(closed, [false, true, false]);
        drop(busy);
    }

    #[test]
    fn whoever_is_answered_is_not_disturbed_and_places_come_back() {
        let places = Places::new(2, 2, Vec::new());
        let clients: Vec<_> = (1..=2).map(|n| come(&places, &format!("192.0.2.{n}"))).collect();
        let busy: Vec<_> = clients.iter().map(|client| client.activity.begin()).collect();
        assert_eq!(come(&places, "192.0.2.9").place.err(), Some(Full::Process));
        drop(clients);
        assert!(places.open().connections.is_empty() && places.open().addresses.is_empty());
        assert!(come(&places, "192.0.2.9").place.is_ok());
        drop(busy);
    }

    #[test]
    fn neighbours_in_a_network_of_version_6_are_one() {
        let places = Places::new(10, 1, Vec::new());
        let one = come(&places, "2001:db8::1");
        let busy = one.activity.begin();
        assert_eq!(come(&places, "2001:db8::ffff:2").place.err(), Some(Full::Address));
        assert!(come(&places, "2001:db8:0:1::1").place.is_ok());
        drop(busy);
    }
}
