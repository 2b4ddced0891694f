//! One address of a list that proxies have written.

use std::net::IpAddr;

/// An address as proxies write it: with or without a port, brackets, quotes, or the zone of a link-local address (RFC 7239 6
/// has some of these, and so have Azure's gateways).
pub(super) fn address_of(part: &[u8]) -> Option<IpAddr> {
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

#[cfg(test)]
mod tests {
    use super::address_of;
    use proptest::prelude::*;

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
        #[test]
        fn junk_is_read_without_a_panic(part in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = address_of(&part);
        }
    }
}
