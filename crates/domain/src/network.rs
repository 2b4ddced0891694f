//! Networks that addresses belong to: who may be one and the same, as far as limits go.

use std::{fmt, net::IpAddr};

/// How IPv6 is given out: a device or household has a /64, a customer up to a /56, a company or a hoster's client up to a
/// /48 (RFC 6177). Who holds the wider network holds all the narrower ones in it.
const V6_PREFIXES: [u8; 3] = [64, 56, 48];

/// A network that one customer holds as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The narrowest: an IPv4 address by itself, or an IPv6 /64.
    pub fn of(address: IpAddr) -> Self {
        Self::masked(address, V6_PREFIXES[0])
    }

    /// The widest that one customer may hold: an IPv4 address by itself, or an IPv6 /48.
    pub fn widest(address: IpAddr) -> Self {
        Self::masked(address, V6_PREFIXES[2])
    }

    /// Every network that counts something an address did, the narrowest first, each with how many times the narrowest one's
    /// limit it may have: more people can be behind a wider one.
    pub fn ladder(address: IpAddr) -> impl Iterator<Item = (Self, u32)> {
        let levels = if address.to_canonical().is_ipv4() {
            1
        } else {
            V6_PREFIXES.len()
        };
        let factors = [1, 2, 4];
        V6_PREFIXES
            .into_iter()
            .zip(factors)
            .take(levels)
            .map(move |(prefix, factor)| (Self::masked(address, prefix), factor))
    }

    fn masked(address: IpAddr, prefix: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self {
                address: IpAddr::V6((v6.to_bits() & (u128::MAX << (128 - u32::from(prefix)))).into()),
                prefix,
            },
            v4 @ IpAddr::V4(_) => Self {
                address: v4,
                prefix: 32,
            },
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::Network;

    fn ladder(address: &str) -> Vec<(String, u32)> {
        Network::ladder(address.parse().unwrap())
            .map(|(network, factor)| (network.to_string(), factor))
            .collect()
    }

    #[test]
    fn an_address_belongs_to_ever_wider_networks() {
        let six = [
            ("2001:db8:1:203::/64", 1),
            ("2001:db8:1:200::/56", 2),
            ("2001:db8:1::/48", 4),
        ];
        let six = six.map(|(network, factor)| (network.to_owned(), factor));
        assert_eq!(ladder("2001:db8:1:203::7"), six);
        let four = [("192.0.2.7/32".to_owned(), 1)];
        assert_eq!(ladder("192.0.2.7"), four);
        assert_eq!(ladder("::ffff:192.0.2.7"), four, "an IPv4 address in other clothes");
    }

    #[test]
    fn neighbours_share_what_they_share() {
        let at = |address: &str| address.parse().unwrap();
        let (here, next) = (at("2001:db8:1:203::7"), at("2001:db8:1:204::7"));
        assert_ne!(Network::of(here), Network::of(next));
        assert_eq!(Network::widest(here), Network::widest(next));
        assert_eq!(Network::of(here), Network::of(at("2001:db8:1:203:ffff::1")));
    }
}
