//! Where a request really comes from.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use http::HeaderMap;
use ipnet::IpNet;

/// The other end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The client's address: the peer, or what trusted proxies say stands behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    pub(super) fn of(peer: Option<Peer>, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
        let peer = peer.to_canonical();
        if trusted.is_empty() || !is_trusted(peer) {
            return Self(peer);
        }
        Self(behind(headers, is_trusted).unwrap_or(peer))
    }
}

/// The rightmost address that no trusted proxy owns: what stands left of it could have been written by anybody.
fn behind(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut last = None;
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        for part in value.to_str().ok()?.rsplit(',') {
            let Ok(address) = part.trim().parse::<IpAddr>() else {
                return last;
            };
            let address = address.to_canonical();
            last = Some(address);
            if !is_trusted(address) {
                return last;
            }
        }
    }
    last
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientAddress, Peer};
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn only_trusted_proxies_are_believed() {
        let from = |peer: &str, forwarded: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_str(forwarded).unwrap());
            let peer = Peer(format!("{peer}:1").parse().unwrap());
            ClientAddress::of(Some(peer), &headers, &["10.0.0.0/8".parse().unwrap()]).to_string()
        };
        assert_eq!(from("192.0.2.1", "198.51.100.7"), "192.0.2.1");
        assert_eq!(from("10.0.0.1", "198.51.100.7"), "198.51.100.7");
        assert_eq!(from("10.0.0.1", "1.1.1.1, 198.51.100.7, 10.0.0.2"), "198.51.100.7");
        assert_eq!(from("10.0.0.1", "junk"), "10.0.0.1");
        assert_eq!(from("10.0.0.1", "junk, 198.51.100.7"), "198.51.100.7");
    }
}
