//! Telling our own pages' requests from those another site makes a browser send.

use http::{HeaderMap, header};

/// The header our scripts send the anti-forgery token in.
pub const CSRF_HEADER: &str = "x-csrf-token";
/// The field our forms send it in.
pub const CSRF_FIELD: &str = "csrf_token";

/// Whether the browser says that the request comes from another site. Requests of programs carry neither header.
pub fn is_cross_site(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    // Older browsers: the origin's host must be the one that was asked.
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = headers
        .get(header::HOST)
        .map(http::HeaderValue::as_bytes)
        .unwrap_or_default();
    let origin = origin.as_bytes();
    let origin_host = origin
        .strip_prefix(b"https://")
        .or_else(|| origin.strip_prefix(b"http://"));
    origin_host.is_none_or(|origin_host| origin_host != host || host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::is_cross_site;
    use http::{HeaderMap, HeaderName, HeaderValue};

    #[test]
    fn only_our_own_origin_passes() {
        let cross = |pairs: &[(&'static str, &'static str)]| {
            let headers: HeaderMap = pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            is_cross_site(&headers)
        };
        assert!(!cross(&[]));
        assert!(!cross(&[("sec-fetch-site", "same-origin")]));
        assert!(cross(&[("sec-fetch-site", "same-site")]));
        assert!(cross(&[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://a.example"),
            ("host", "a.example")
        ]));
        assert!(!cross(&[("origin", "https://a.example"), ("host", "a.example")]));
        assert!(cross(&[("origin", "https://b.example"), ("host", "a.example")]));
        assert!(cross(&[("origin", "null"), ("host", "a.example")]));
    }
}
