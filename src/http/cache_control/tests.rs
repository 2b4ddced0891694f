//! The table is complete, and nothing personal is kept by a shared cache.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use proptest::prelude::*;

use super::{CacheClass, CacheControl, TABLE, listed};
use crate::{
    auth::access::Access,
    http::router::{EdgeRules, routes},
};
use configuration::cache::HttpCacheConfig;

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
        body_timeout: Duration::from_secs(1),
        body_limit: 1,
        cors_origins: Vec::new(),
        public_metrics: true,
        open_registration: true,
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
        let is_route = routes
            .iter()
            .any(|(method, is_route, _)| method == Method::GET && is_route == path);
        assert!(is_route, "{path} is no route");
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
        (CacheClass::Own, "no-store"),
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
