//! What a request's head says of where it comes from and goes to: the page that sent it, the page to come back to, the path that was
//! meant, and the caller's trace.

#[path = "../../src/auth/csrf.rs"]
mod csrf;
#[path = "../../src/http/meant.rs"]
mod meant;
#[path = "../../src/web/next.rs"]
mod next;
#[path = "../../crates/telemetry/src/context.rs"]
mod trace;

use http::{HeaderMap, HeaderName, HeaderValue, header};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

pub fn check(data: &[u8]) {
    if let Ok(path) = std::str::from_utf8(data) {
        place(path);
    }
    let Some((one, other)) = crate::cut(data) else { return };
    let (Ok(one), Ok(other)) = (HeaderValue::from_bytes(one), HeaderValue::from_bytes(other)) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::ORIGIN, one.clone());
    headers.insert(header::HOST, other);
    let same = [b"https://", &b"http://"[..]].map(|scheme| [scheme, headers[header::HOST].as_bytes()].concat());
    if !csrf::is_cross_site(&headers) {
        assert!(same.iter().any(|origin| origin == one.as_bytes()), "{headers:?}");
    }
    headers.insert(TRACEPARENT, one);
    if let Some(passed) = trace::traceparent(&headers) {
        let passed = passed.to_str().expect("letters");
        assert!(passed.len() == 55 && passed.starts_with("00-"), "{passed}");
        assert!(trace::trace_id(passed).is_some_and(|id| id.len() == 32));
    }
}

fn place(path: &str) {
    if let Some(page) = next::page(path) {
        assert!(page.starts_with('/') && !page.starts_with("//"), "{page}");
        assert!(
            page.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/-".contains(&byte)),
            "{page}"
        );
        assert!(next::sign_in_url(path).is_some());
    }
    if let Some(meant) = meant::meant(path) {
        assert_eq!(meant::meant(meant), Some(meant));
    }
}
