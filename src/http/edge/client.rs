//! Where a request really comes from.

mod address;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Mutex,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use metrics::{Counter, counter};

use telemetry::metrics::FORWARDED_FOR_IGNORED;

use address::address_of;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Between two warnings of a proxy that is not trusted.
const WARNING_INTERVAL: Duration = Duration::from_mins(10);

/// The other end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The client's address: the peer, or what trusted proxies say stands behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Whom to believe about the clients behind them.
pub(super) struct TrustedProxies {
    networks: Vec<IpNet>,
    ignored: Counter,
    last_warning: Mutex<Option<Instant>>,
}

impl TrustedProxies {
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        Self {
            networks,
            ignored: counter!(FORWARDED_FOR_IGNORED),
            last_warning: Mutex::default(),
        }
    }

    pub(super) fn client(&self, peer: Option<Peer>, headers: &HeaderMap) -> ClientAddress {
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip().to_canonical());
        if self.is_trusted(peer) {
            return ClientAddress(self.behind(headers).unwrap_or(peer));
        }
        if headers.contains_key(X_FORWARDED_FOR) {
            self.note_ignored(peer);
        }
        ClientAddress(peer)
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The rightmost address that no trusted proxy owns: what stands left of it could have been written by anybody. So could
    /// what stands left of something that is no address: the proxy that wrote that down is as far as we know the way.
    fn behind(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut last = None;
        for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
            for part in value.as_bytes().rsplit(|byte| *byte == b',') {
                let part = part.trim_ascii();
                // Empty members of a list say nothing (RFC 9110 5.6.1).
                if part.is_empty() {
                    continue;
                }
                let Some(address) = address_of(part) else {
                    return last;
                };
                last = Some(address);
                if !self.is_trusted(address) {
                    return last;
                }
            }
        }
        last
    }

    /// Either somebody tries to be somebody else, or there is a proxy that nobody told us of; then all who come by it count
    /// as one.
    fn note_ignored(&self, peer: IpAddr) {
        self.ignored.increment(1);
        // Whoever finds it taken is told of by another.
        let Ok(mut last) = self.last_warning.try_lock() else {
            return;
        };
        let now = Instant::now();
        if last.is_none_or(|last| now.saturating_duration_since(last) >= WARNING_INTERVAL) {
            *last = Some(now);
            tracing::warn!(
                target: "mapleai::http",
                %peer,
                "X-Forwarded-For comes from an address that is not in server.trusted_proxies and is not believed; if that is a proxy of yours, its clients count as one"
            );
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Peer, TrustedProxies};
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    fn from(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let peer = Peer(format!("{peer}:1").parse().unwrap());
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        trusted.client(Some(peer), &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(from("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(from("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(from("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(
            from("10.0.0.1", &["1.1.1.1", "198.51.100.7:80, 10.0.0.2"]),
            "198.51.100.7"
        );
        assert_eq!(from("10.0.0.1", &["junk"]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &["junk, 198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn what_cannot_be_read_hides_what_stands_left_of_it_and_no_more() {
        assert_eq!(from("10.0.0.1", &["198.51.100.7, unknown"]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &["198.51.100.7, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(from("10.0.0.1", &["198.51.100.7, "]), "198.51.100.7");
        assert_eq!(from("10.0.0.1", &["", "198.51.100.7,,  ,"]), "198.51.100.7");
        // Bytes that a client sent must not make a proxy of it.
        assert_eq!(from("10.0.0.1", &["\u{e9}\u{e9}, 198.51.100.7"]), "198.51.100.7");
    }

    proptest! {
        /// Whatever a client sends in front, the address that the proxy added is the one that counts.
        #[test]
        fn what_is_sent_in_front_changes_nothing(sent in "[ -~]{0,60}") {
            prop_assert_eq!(from("10.0.0.1", &[&format!("{sent}, 198.51.100.7:80")]), "198.51.100.7");
        }
    }
}
