//! What is counted, and how often it may be.

use std::net::IpAddr;

use cache::counts::CountName;
use domain::network::Network;

/// What is counted apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Wrong passwords of one account, from everywhere. Slows down and does not refuse.
    Account,
    /// The same from one network, or from one known device, or from all known devices of one person.
    AccountFrom,
    /// Wrong passwords from one network.
    Network,
    SignIns,
    /// Apart from sign-ins: an office that registers must not be kept from signing in, nor the other way about.
    Registrations,
}

pub(super) struct Rule {
    pub(super) kind: Kind,
    pub(super) name: CountName,
    pub(super) max: u32,
}

impl Rule {
    pub(super) fn new(kind: Kind, parts: &[&[u8]], max: u32) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind as u8]);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self {
            kind,
            name: *hasher.finalize().as_bytes(),
            max,
        }
    }
}

/// The same rule for each network that an address is in, the wider ones with more room.
pub(super) fn by_network(kind: Kind, parts: &[&[u8]], address: IpAddr, max: u32) -> Vec<Rule> {
    let ladder = Network::ladder(address);
    ladder
        .map(|(network, factor)| {
            let network = network.to_string();
            let mut parts = parts.to_vec();
            parts.push(network.as_bytes());
            Rule::new(kind, &parts, max.saturating_mul(factor))
        })
        .collect()
}
