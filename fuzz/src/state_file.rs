//! The state file of a local model: only loopback addresses, and nothing that a request cannot carry.

#[path = "../../crates/provider/src/local/state_file.rs"]
mod file;

use file::ReportedState;
use http::HeaderValue;
use secrecy::ExposeSecret as _;
use url::Host;

pub fn check(data: &[u8]) {
    if let Ok(ReportedState::Ready { url, key, model }) = file::parse(data) {
        assert_eq!(url.scheme(), "http");
        let is_own = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            _ => false,
        };
        assert!(is_own, "{url}");
        assert!(HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).is_ok());
        assert!(!model.chars().any(char::is_control), "{model:?}");
    }
}
