//! What a request must be like before anybody looks at whose it is: one Host, and a body that is not compressed.

mod host;

use std::net::IpAddr;

use http::{HeaderMap, Request, StatusCode, Uri, Version, header, uri::Authority};
use http_body::Body;

use crate::api_error::ApiError;

use host::is_host;

/// Refuses what no client that means well sends, and what we do not read.
pub(in crate::http) fn check<B: Body>(request: &Request<B>) -> Result<(), ApiError> {
    check_host(request.version(), request.headers())?;
    check_target(request.uri(), request.headers())?;
    if request.headers().contains_key(header::CONTENT_ENCODING) && !request.body().is_end_stream() {
        check_coding(request.headers())?;
    }
    Ok(())
}

/// RFC 9112 3.2: HTTP/1.1 has exactly one Host, and it is one. Without it, or with two, this service and a proxy before it
/// could see different requests.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let first = hosts.next();
    let problem = match (first, hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => return Ok(()),
        (None, _) if version < Version::HTTP_11 => return Ok(()),
        (None, _) => "The request has no Host header.",
        (Some(_), Some(_)) => "The request has more than one Host header.",
        (Some(_), None) => "The Host header is not a host with an optional port.",
    };
    Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_host", problem))
}

/// A target that names a host itself is to be believed rather than Host (RFC 9112 3.2.2). Both are looked at here and there, so they have
/// to say the same.
fn check_target(target: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(authority) = target.authority() else {
        return Ok(());
    };
    let host = headers.get(header::HOST).map(http::HeaderValue::as_bytes);
    if host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_str().as_bytes())) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::BAD_REQUEST,
        "invalid_host",
        "The request's target and its Host header name different hosts.",
    ))
}

/// Whether a request is for this machine, by a name of its own, an address, or `own`. A web page whose name was made to lead here
/// (DNS rebinding) is of the same origin as what it reaches, so that nothing else would keep it from reading; an address cannot
/// be made to lead elsewhere.
pub(super) fn check_local(headers: &HeaderMap, own: &str) -> Result<(), ApiError> {
    let named = headers
        .get(header::HOST)
        .and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let is_local = named.is_none_or(|authority| {
        let host = authority.host().to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == own || host == "localhost" || host.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
    });
    if is_local {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::MISDIRECTED_REQUEST,
        "foreign_host",
        "In development only requests for this machine are answered; server.public_url names another host that may be asked for.",
    ))
}

/// RFC 9110 15.5.16: says what would be taken. ollama #12386 has clients that compress.
fn check_coding(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let is_plain = codings.all(|value| {
        let mut members = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        members.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"))
    });
    if is_plain { Ok(()) } else { Err(ApiError::compressed()) }
}

#[cfg(test)]
mod tests {
    use super::{check_coding, check_host, check_local, check_target};
    use http::{HeaderMap, HeaderValue, Version, header};

    fn with(name: &header::HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_target_with_a_host_of_its_own_says_the_same() {
        let check = |target: &str, host: &'static str| {
            check_target(&target.parse().unwrap(), &with(&header::HOST, &[host])).is_ok()
        };
        assert!(check("/api/health", "maple.test") && check("*", "maple.test"));
        assert!(check("http://Maple.test:80/", "maple.test:80"));
        assert!(!check("http://evil.example/", "maple.test") && !check("http://maple.test/", "maple.test:80"));
    }

    #[test]
    fn in_development_a_name_that_leads_here_is_not_enough() {
        let check = |host: &'static str| check_local(&with(&header::HOST, &[host]), "maple.test").is_ok();
        for own in [
            "localhost:3000",
            "LOCALHOST",
            "app.localhost:1",
            "127.0.0.1:3000",
            "[::1]:3000",
            "10.1.2.3",
            "maple.test:9",
        ] {
            assert!(check(own), "{own}");
        }
        for foreign in [
            "evil.example:3000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "maple.test.evil.example",
            "notlocalhost",
        ] {
            assert!(!check(foreign), "{foreign}");
        }
    }

    #[test]
    fn one_host_it_is() {
        let check = |version, values: &[&'static str]| check_host(version, &with(&header::HOST, values)).is_ok();
        for good in [
            "maple.example",
            "maple.example:8443",
            "maple.example:",
            "127.0.0.1:3000",
            "[::1]:3000",
            "[2001:db8::1]",
            "localhost",
            "under_score.example",
            "",
        ] {
            assert!(check(Version::HTTP_11, &[good]), "{good}");
        }
        for bad in [
            "a@b",
            "a b",
            "a/b",
            "maple.example:x",
            "maple.example:70000",
            "[::1",
            "http://maple.example",
            "a:1:2",
        ] {
            assert!(!check(Version::HTTP_11, &[bad]), "{bad}");
        }
        assert!(!check(Version::HTTP_11, &[]));
        assert!(!check(Version::HTTP_11, &["a", "a"]));
        assert!(check(Version::HTTP_10, &[]), "HTTP/1.0 knows no Host");
        assert!(!check(Version::HTTP_10, &["a", "b"]));
    }

    #[test]
    fn compressed_bodies_are_told_apart() {
        let check = |values: &[&'static str]| check_coding(&with(&header::CONTENT_ENCODING, values)).is_ok();
        assert!(check(&["identity"]) && check(&[""]) && check(&["Identity, identity"]));
        for bad in [
            &["gzip"][..],
            &["zstd"],
            &["identity, br"],
            &["identity", "deflate"],
            &["x"],
        ] {
            assert!(!check(bad), "{bad:?}");
        }
    }
}
