//! What browsers and shared caches (CDNs) may keep: one table, and the one place that emits Cache-Control.
//!
//! A shared cache may store an answer to a request with credentials if it says `public`, `s-maxage` or `must-revalidate`
//! (RFC 9111 3.5), so what a handler says of caching is not listened to.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{auth::access::Access, config::cache::HttpCacheConfig};

/// How an answer may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheClass {
    /// Under a name that holds the hash of its contents.
    Asset,
    /// The same for everybody.
    Public,
    /// A caller's own figures, which may be some minutes old.
    Report,
    /// A caller's own things: kept to be asked about, never to be shown unasked.
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
    ("/api/sessions", CacheClass::Own),
    ("/api/keys", CacheClass::Own),
    ("/api/invitations", CacheClass::Own),
    ("/api/conversations", CacheClass::Own),
    ("/api/conversations/{id}", CacheClass::Own),
    // Programs' libraries keep no answers, and a layer for these would be on every call's way.
    ("/v1/models", CacheClass::NoStore),
    ("/v1/models/{id}", CacheClass::NoStore),
    // The truth of this moment.
    ("/api/health", CacheClass::NoStore),
    ("/api/ready", CacheClass::NoStore),
    ("/metrics", CacheClass::NoStore),
    // Pages hold anti-forgery tokens, and what is on them must be gone from the screen's history after signing out.
    ("/", CacheClass::NoStore),
    ("/c/{id}", CacheClass::NoStore),
    ("/keys", CacheClass::NoStore),
    ("/settings", CacheClass::NoStore),
    ("/settings/profile", CacheClass::NoStore),
    ("/settings/password", CacheClass::NoStore),
    ("/settings/invitations", CacheClass::NoStore),
    ("/settings/cache/purge", CacheClass::NoStore),
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
    TABLE.iter().find(|(known, _)| *known == path).map(|(_, class)| *class)
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
        matches!(self, Self::Public | Self::Report | Self::Own)
    }
}

/// The headers' values, made once.
#[derive(Debug, Clone)]
pub struct CacheControl {
    asset: HeaderValue,
    public: HeaderValue,
    report: HeaderValue,
}

const OWN: HeaderValue = HeaderValue::from_static("private, no-cache");
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
            CacheClass::Own => (OWN, Some("authorization, cookie")),
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
mod tests {
    use super::{CacheClass, CacheControl, TABLE, listed};
    use crate::{
        auth::access::Access,
        config::cache::HttpCacheConfig,
        http::router::{EdgeRules, routes},
    };
    use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
    use proptest::prelude::*;
    use std::time::Duration;

    fn control() -> CacheControl {
        CacheControl::new(&HttpCacheConfig {
            assets_max_age: Duration::from_hours(365 * 24),
            assets_shared_max_age: Duration::from_hours(1),
            public_max_age: Duration::from_mins(5),
            public_shared_max_age: Duration::from_mins(1),
            public_stale_while_revalidate: Duration::from_secs(30),
            report_max_age: Duration::from_mins(5),
        })
    }

    fn table() -> Vec<(Method, String, Access)> {
        let rules = EdgeRules {
            request_timeout: Duration::from_secs(1),
            body_limit: 1,
            cors_origins: Vec::new(),
            public_metrics: true,
        };
        let (_, table, _) = routes(&rules).into_parts();
        let rows = table
            .iter()
            .map(|route| (route.method.clone(), route.path.to_string(), route.access));
        rows.collect()
    }

    #[test]
    fn the_table_names_every_route_that_can_be_kept_and_no_other() {
        let routes = table();
        for (method, path, _) in &routes {
            assert!(listed(method, path).is_some(), "{method} {path} has no class");
        }
        for (path, _) in TABLE {
            let known = routes
                .iter()
                .any(|(method, known, _)| method == Method::GET && known == path);
            assert!(known, "{path} is no route");
        }
    }

    #[test]
    fn the_values_are_those_of_the_strategy() {
        for (class, value) in [
            (CacheClass::Asset, "public, max-age=31536000, s-maxage=3600, immutable"),
            (
                CacheClass::Public,
                "public, max-age=300, s-maxage=60, stale-while-revalidate=30",
            ),
            (CacheClass::Report, "private, max-age=300"),
            (CacheClass::Own, "private, no-cache"),
            (CacheClass::NoStore, "no-store"),
        ] {
            let mut headers = HeaderMap::new();
            control().apply(class, StatusCode::OK, &mut headers);
            assert_eq!(headers[header::CACHE_CONTROL], value);
        }
    }

    /// RFC 9111 section 3, for an answer to a request whose credentials it depended on: whether a shared cache may keep it.
    fn shared_caches_may_keep(headers: &HeaderMap) -> bool {
        let directives: Vec<String> = headers
            .get_all(header::CACHE_CONTROL)
            .iter()
            .flat_map(|value| {
                value
                    .to_str()
                    .unwrap()
                    .split(',')
                    .map(|part| part.trim().to_ascii_lowercase())
            })
            .collect();
        let says = |name: &str| directives.iter().any(|part| part.split('=').next() == Some(name));
        !says("no-store") && !says("private")
    }

    const HOSTILE: [(&str, &str); 6] = [
        ("cache-control", "public, max-age=31536000"),
        ("cache-control", "s-maxage=60, must-revalidate"),
        ("expires", "Thu, 01 Dec 2094 16:00:00 GMT"),
        ("pragma", "cache"),
        ("vary", "*"),
        ("content-type", "text/event-stream"),
    ];

    proptest! {
        #[test]
        fn nothing_personal_is_ever_kept_by_a_shared_cache(
            route in prop::sample::select(table()),
            said in prop::collection::vec(prop::sample::select(HOSTILE.to_vec()), 0..4),
            cookie in any::<bool>(),
            status in prop::sample::select(vec![200_u16, 201, 204, 206, 301, 303, 304, 400, 401, 404, 500]),
        ) {
            let (method, path, access) = route;
            let mut headers = HeaderMap::new();
            for (name, value) in said {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            if cookie {
                headers.insert(header::SET_COOKIE, HeaderValue::from_static("session=1"));
            }
            let class = CacheClass::of(&method, &path, access);
            control().apply(class, StatusCode::from_u16(status).unwrap(), &mut headers);
            if access != Access::Open || cookie {
                prop_assert!(!shared_caches_may_keep(&headers), "{} {} {:?}", method, path, headers);
            }
            prop_assert_eq!(headers.get_all(header::CACHE_CONTROL).iter().count(), 1);
            prop_assert!(!headers.contains_key(header::EXPIRES) && !headers.contains_key(header::PRAGMA));
        }

        /// Even a mistake in the table keeps nothing personal.
        #[test]
        fn a_wrong_class_is_held_down(route in prop::sample::select(table()), class in prop::sample::select(TABLE.to_vec())) {
            let (_, _, access) = route;
            let class = CacheClass::of(&Method::GET, class.0, access);
            let mut headers = HeaderMap::new();
            control().apply(class, StatusCode::OK, &mut headers);
            prop_assert!(access == Access::Open || !shared_caches_may_keep(&headers));
        }
    }
}
