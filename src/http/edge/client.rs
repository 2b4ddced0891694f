//! Where a request really comes from.

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

/// An address as proxies write it: with or without a port, brackets, quotes, or the zone of a link-local address (RFC 7239 6
/// has some of these, and so have Azure's gateways).
fn address_of(part: &[u8]) -> Option<IpAddr> {
    let quoted = std::str::from_utf8(part).ok()?;
    let node = quoted
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(quoted)
        .trim();
    let address = if let Some(bracketed) = node.strip_prefix('[') {
        let (address, behind) = bracketed.split_once(']')?;
        if !behind.is_empty() && !behind.strip_prefix(':').is_some_and(is_port) {
            return None;
        }
        address
    } else {
        match node.split_once(':') {
            // More than one colon is IPv6, which has no port without brackets.
            Some((address, behind)) if !behind.contains(':') => is_port(behind).then_some(address)?,
            _ => node,
        }
    };
    let address = address.split_once('%').map_or(address, |(address, _zone)| address);
    Some(address.parse::<IpAddr>().ok()?.to_canonical())
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Peer, TrustedProxies, address_of};
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

    /// rack #1227, express-rate-limit #234, authentik #25679.
    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (written, address) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:51234", "203.0.113.7"),
            ("\"203.0.113.7:51234\"", "203.0.113.7"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("\"[2001:db8::1]:443\"", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
        ] {
            assert_eq!(
                address_of(written.as_bytes()).unwrap().to_string(),
                address,
                "{written}"
            );
        }
        for bad in [
            "unknown",
            "_hidden",
            "203.0.113.7:",
            "203.0.113.7:x",
            "203.0.113",
            "[2001:db8::1",
            "[2001:db8::1]x",
            "\"",
            "203.0.113.7 203.0.113.8",
        ] {
            assert_eq!(address_of(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        /// Whatever a client sends in front, the address that the proxy added is the one that counts.
        #[test]
        fn what_is_sent_in_front_changes_nothing(sent in "[ -~]{0,60}") {
            prop_assert_eq!(from("10.0.0.1", &[&format!("{sent}, 198.51.100.7:80")]), "198.51.100.7");
        }

        #[test]
        fn junk_is_read_without_a_panic(part in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = address_of(&part);
        }
    }
}
