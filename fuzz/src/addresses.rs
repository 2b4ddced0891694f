//! `Host` and `X-Forwarded-For`.

#[path = "../../src/http/edge/client/address.rs"]
mod address;
#[path = "../../src/http/edge/framing/host.rs"]
mod host;

use std::net::IpAddr;

use address::address_of;
use domain::network::Network;
use http::Uri;

pub fn check(data: &[u8]) {
    if let Some(found) = address_of(data) {
        let written = match found {
            IpAddr::V4(v4) => [format!("{v4}"), format!("{v4}:80"), format!("\"{v4}:80\"")],
            IpAddr::V6(v6) => [format!("{v6}"), format!("[{v6}]:80"), format!("\"[{v6}%eth0]\"")],
        };
        for written in written {
            assert_eq!(address_of(written.as_bytes()), Some(found), "{written}");
        }
        assert!(Network::ladder(found).all(|(network, _)| network.to_string().contains('/')));
    }
    if host::is_host(data) && !data.is_empty() {
        let host = std::str::from_utf8(data).expect("a host is ASCII");
        let target: Uri = format!("http://{host}/").parse().expect("a host is one of a target");
        assert_eq!(target.authority().map(|authority| authority.as_str()), Some(host));
        assert_eq!(target.path(), "/");
    }
}
