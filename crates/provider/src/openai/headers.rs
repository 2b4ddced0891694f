//! Headers: those that are sent, and what those of an answer say.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use secrecy::ExposeSecret;

use super::retry;
use crate::MAX_HEADERS;
use configuration::ProviderConfig;

/// What is sent with every request. `None` if a configured value cannot stand in a header.
pub(super) fn sent_headers(config: &ProviderConfig) -> Option<HeaderMap> {
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
    if let Some(key) = &config.api_key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok()?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    for (name, value) in &config.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let mut value = HeaderValue::from_str(value.expose_secret()).ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Some(headers)
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

/// The headers that are meant for the caller, but for the content type: when to come back, and the provider's own id and time
/// for the call. All others stay here: they may name our organisation, or tell what other tenants have left of our limits.
pub(super) fn caller_headers(status: StatusCode, upstream: &HeaderMap) -> HeaderMap {
    static PASSED: [(HeaderName, HeaderName); 3] = [
        // Ours has that name; both are needed when a provider is asked about a call.
        (
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("x-upstream-request-id"),
        ),
        (
            HeaderName::from_static("openai-processing-ms"),
            HeaderName::from_static("openai-processing-ms"),
        ),
        (
            HeaderName::from_static("openai-version"),
            HeaderName::from_static("openai-version"),
        ),
    ];
    let mut headers = HeaderMap::with_capacity(MAX_HEADERS);
    for (name, passed) in &PASSED {
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
