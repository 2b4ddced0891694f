//! Headers: those that are sent, and what those of an answer say.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use secrecy::ExposeSecret;

use super::{VendorFormat, retry};
use crate::MAX_HEADERS;
use configuration::ProviderConfig;

/// What is sent with every request. `None` if a configured value cannot stand in a header.
pub(super) fn sent_headers<F: VendorFormat>(config: &ProviderConfig) -> Option<HeaderMap> {
    // With room for the host and the length, which are added to a copy of these for each call.
    let mut headers = HeaderMap::with_capacity(7 + config.headers.len());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        header::ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    // Without it any encoding would be allowed, and nothing here decodes.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("mapleai/", env!("CARGO_PKG_VERSION"))),
    );
    F::add_headers(config.api_key.as_ref().map(ExposeSecret::expose_secret), &mut headers)?;
    for (name, value) in &config.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.insert(name, secret(value.expose_secret())?);
    }
    Some(headers)
}

/// A value that is a secret: it is taken out of what callers are told. `None` if it cannot stand in a header.
pub(crate) fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .eq_ignore_ascii_case("text/event-stream")
        })
}

/// Whether the body is encoded, though nobody asked for that. Some servers and proxies compress all the same.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut names = encodings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.any(|name| {
        let name = name.trim_ascii();
        !name.is_empty() && !name.eq_ignore_ascii_case(b"identity")
    })
}

/// The headers that are meant for the caller, but for the content type: when to come back, and those that the vendor's format names, such as
/// the vendor's own id and time for the call. All others stay here: they may name our organisation, or tell what other tenants have left of our limits.
pub(super) fn caller_headers<F: VendorFormat>(status: StatusCode, upstream: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(MAX_HEADERS);
    for (name, passed) in F::passed_headers() {
        if let Some(value) = upstream.get(name) {
            headers.insert(passed.clone(), value.clone());
        }
    }
    retry::pass(status, upstream, &mut headers);
    headers
}

#[cfg(test)]
mod tests {
    use super::is_encoded;
    use http::{HeaderMap, HeaderValue, header};

    #[test]
    fn any_encoding_but_identity_is_seen() {
        let headers =
            |text: &'static str| HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(text))]);
        assert!(!is_encoded(&HeaderMap::new()) && !is_encoded(&headers("Identity")) && !is_encoded(&headers("")));
        assert!(
            is_encoded(&headers("gzip"))
                && is_encoded(&headers("identity, br"))
                && is_encoded(&headers("x-unheard-of"))
        );
    }
}
