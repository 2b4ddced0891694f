//! What browsers and shared caches (CDNs) may keep: one table, and the one place that emits Cache-Control.
//!
//! A shared cache may store an answer to a request with credentials if it says `public`, `s-maxage` or `must-revalidate`
//! (RFC 9111 3.5), so what a handler says of caching is not listened to.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::auth::access::Access;
use configuration::cache::HttpCacheConfig;

/// How an answer may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheClass {
    /// Under a name that holds the hash of its contents.
    Asset,
    /// The same for everybody.
    Public,
    /// A caller's own figures, which may be some minutes old.
    Report,
    /// A caller's own things: kept by nobody, since a browser's cache lies on the disk of a machine that others use, too.
    Own,
    /// Not kept by anybody.
    NoStore,
}

/// Every GET route. Other methods are never kept.
const TABLE: &[(&str, CacheClass)] = &[
    ("/assets/{name}", CacheClass::Asset),
    ("/api/models", CacheClass::Public),
    ("/api/openapi.json", CacheClass::Public),
    ("/api/usage", CacheClass::Report),
    ("/api/users", CacheClass::Own),
    ("/api/users/me", CacheClass::Own),
    ("/api/users/me/export", CacheClass::NoStore),
    ("/api/organization", CacheClass::Own),
    ("/api/sessions", CacheClass::Own),
    ("/api/keys", CacheClass::Own),
    ("/api/audit", CacheClass::Own),
    ("/api/invitations", CacheClass::Own),
    ("/api/conversations", CacheClass::Own),
    ("/api/conversations/{id}", CacheClass::Own),
    // Programs' libraries keep no answers, and a layer for these would be on every call's way.
    ("/v1/models", CacheClass::NoStore),
    ("/v1/models/{*id}", CacheClass::NoStore),
    // The truth of this moment.
    ("/api/health", CacheClass::NoStore),
    ("/api/ready", CacheClass::NoStore),
    ("/metrics", CacheClass::NoStore),
    // Pages hold anti-forgery tokens, and what is on them must be gone from the screen's history after signing out.
    ("/", CacheClass::NoStore),
    ("/c/{id}", CacheClass::NoStore),
    ("/keys", CacheClass::NoStore),
    ("/audit", CacheClass::NoStore),
    ("/settings", CacheClass::NoStore),
    ("/settings/profile", CacheClass::NoStore),
    ("/settings/password", CacheClass::NoStore),
    ("/settings/invitations", CacheClass::NoStore),
    ("/settings/cache/purge", CacheClass::NoStore),
    ("/settings/cache/sharing", CacheClass::NoStore),
    ("/sign-in", CacheClass::NoStore),
    ("/register", CacheClass::NoStore),
    ("/invite/{token}", CacheClass::NoStore),
    ("/api/docs", CacheClass::NoStore),
];

/// The class of a route, if it is in the table.
fn listed(method: &Method, path: &str) -> Option<CacheClass> {
    if method != Method::GET {
        return Some(CacheClass::NoStore);
    }
    TABLE
        .iter()
        .find(|(listed, _)| *listed == path)
        .map(|(_, class)| *class)
}

impl CacheClass {
    /// What a route's answers may be at most, whatever the table says: only what is open to all is kept for all.
    pub fn of(method: &Method, path: &str, access: Access) -> Self {
        match listed(method, path).unwrap_or(Self::NoStore) {
            Self::Asset | Self::Public if access != Access::Open => Self::Own,
            class => class,
        }
    }

    /// Whether its answers carry a tag by which they can be asked about.
    pub fn has_tag(self) -> bool {
        matches!(self, Self::Public | Self::Report)
    }
}

/// The headers' values, made once.
#[derive(Debug, Clone)]
pub struct CacheControl {
    asset: HeaderValue,
    public: HeaderValue,
    report: HeaderValue,
}

pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

impl CacheControl {
    pub fn new(config: &HttpCacheConfig) -> Self {
        let value = |text: String| HeaderValue::from_str(&text).unwrap_or(NO_STORE);
        let seconds = Duration::as_secs;
        Self {
            asset: value(format!(
                "public, max-age={}, s-maxage={}, immutable",
                seconds(&config.assets_max_age),
                seconds(&config.assets_shared_max_age)
            )),
            public: value(format!(
                "public, max-age={}, s-maxage={}, stale-while-revalidate={}",
                seconds(&config.public_max_age),
                seconds(&config.public_shared_max_age),
                seconds(&config.public_stale_while_revalidate)
            )),
            report: value(format!("private, max-age={}", seconds(&config.report_max_age))),
        }
    }

    /// Overwrites what an answer says of caching.
    pub(super) fn apply(&self, class: CacheClass, status: StatusCode, headers: &mut HeaderMap) {
        let class = if may_be_kept(status, headers) {
            class
        } else {
            CacheClass::NoStore
        };
        let (value, vary) = match class {
            CacheClass::Asset => (self.asset.clone(), Some("accept-encoding")),
            CacheClass::Public => (self.public.clone(), Some("accept-encoding")),
            CacheClass::Report => (self.report.clone(), Some("authorization, cookie")),
            CacheClass::Own => (NO_STORE, Some("authorization, cookie")),
            CacheClass::NoStore => (NO_STORE, None),
        };
        headers.insert(header::CACHE_CONTROL, value);
        headers.remove(header::EXPIRES);
        headers.remove(header::PRAGMA);
        if let Some(vary) = vary
            && !varies_by(headers, vary)
        {
            headers.append(header::VARY, HeaderValue::from_static(vary));
        }
    }
}

fn varies_by(headers: &HeaderMap, vary: &str) -> bool {
    headers
        .get_all(header::VARY)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.eq_ignore_ascii_case(vary)))
}

/// Whole, of no one moment, and not the place where somebody is handed a cookie.
fn may_be_kept(status: StatusCode, headers: &HeaderMap) -> bool {
    let stream = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    matches!(status, StatusCode::OK | StatusCode::NOT_MODIFIED) && !headers.contains_key(header::SET_COOKIE) && !stream
}

#[cfg(test)]
mod tests;
