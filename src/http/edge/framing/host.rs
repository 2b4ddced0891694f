//! What is a host, as `Host` names it.

use http::uri::Authority;

/// `uri-host [ ":" port ]` (RFC 9110 7.2). Empty is allowed to those whose target has no authority.
pub(super) fn is_host(host: &[u8]) -> bool {
    // The usual one is told at a glance.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    if host.iter().all(is_plain) {
        return true;
    }
    if host.contains(&b'@') {
        return false;
    }
    let Ok(authority) = Authority::try_from(host) else {
        return false;
    };
    let port = &authority.as_str()[authority.host().len()..];
    match port.strip_prefix(':') {
        Some("") => true,
        Some(_) => authority.port_u16().is_some(),
        None => port.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_host;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_host_panics(host in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = is_host(&host);
        }
    }
}
