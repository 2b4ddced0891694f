//! Headers: those that are sent, and what those of an answer say.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::ExposeSecret;

use crate::{config::ProviderConfig, provider::MOST_HEADERS};

/// What is sent with every request. `None` if a configured value cannot stand in a header.
pub(super) fn sent_headers(config: &ProviderConfig, host: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_str(host).ok()?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        header::ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
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

/// The headers that are meant for the caller: what the body is, when to come back, and the provider's own bookkeeping.
pub(super) fn caller_headers(upstream: &HeaderMap) -> HeaderMap {
    const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");
    let mut headers = HeaderMap::with_capacity(MOST_HEADERS);
    let mut pass = |name: HeaderName, value: &HeaderValue| headers.insert(name, value.clone());
    for (name, value) in upstream {
        if *name == header::CONTENT_TYPE || *name == header::RETRY_AFTER {
            pass(name.clone(), value);
        } else if name.as_str() == "x-request-id" {
            // Ours has that name; both are needed when a provider is asked about a call.
            pass(UPSTREAM_REQUEST_ID, value);
        } else if name.as_str().starts_with("openai-") || name.as_str().starts_with("x-ratelimit-") {
            pass(name.clone(), value);
        }
    }
    headers
}
