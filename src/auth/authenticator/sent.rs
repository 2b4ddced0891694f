//! What a request's head says of who sends it.

use crypto::secret::SecretKind;
use http::{HeaderMap, header};

/// The token of `Authorization: Bearer` (RFC 6750); the scheme's case does not matter (RFC 9110 11.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    const SCHEME: &str = "bearer ";
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let value = sent.next()?.to_str().ok()?;
    // A proxy before us may have looked at the other.
    if sent.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

/// Whether the caller is told by a token, and not by a cookie. Another scheme may be meant for a proxy before us.
pub fn is_by_token(headers: &HeaderMap) -> bool {
    bearer(headers).is_some()
}

/// Whether the caller is a program with a key of ours, good or not.
pub fn is_by_key(headers: &HeaderMap) -> bool {
    bearer(headers).is_some_and(|token| token.starts_with(SecretKind::ApiKey.prefix()))
}

/// One cookie's value.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &'a str) -> Option<&'a str> {
    cookies(headers, name).next()
}

/// The values of all cookies of a name, in the order in which they came.
pub(super) fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    pairs(headers).filter_map(move |pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        std::str::from_utf8(value).ok()
    })
}

/// All that `Cookie` says, pair by pair. In bytes: another cookie may hold anything, and a sibling domain that sets one with letters
/// beyond ASCII must not make the others unreadable.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
}

/// Takes every other cookie of this name out of a request.
pub(super) fn keep_only(headers: &mut HeaderMap, name: &str, kept: &str) {
    let mut kept = format!("{name}={kept}").into_bytes();
    for pair in pairs(headers) {
        let is_other = pair
            .strip_prefix(name.as_bytes())
            .is_none_or(|rest| !rest.starts_with(b"="));
        if is_other {
            kept.extend_from_slice(b"; ");
            kept.extend_from_slice(pair);
        }
    }
    if let Ok(value) = http::HeaderValue::from_bytes(&kept) {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::{bearer, cookie, cookies, keep_only};
    use http::{HeaderMap, HeaderValue, header};
    use proptest::prelude::*;

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
        headers
    }

    #[test]
    fn credentials_are_read_as_sent() {
        assert_eq!(bearer(&with(header::AUTHORIZATION, "bearer  mk_x ")), Some("mk_x"));
        assert_eq!(bearer(&with(header::AUTHORIZATION, "Basic mk_x")), None);
        assert_eq!(bearer(&with(header::AUTHORIZATION, "Bearer ")), None);
        assert_eq!(
            cookie(&with(header::COOKIE, "a=1; maple_session=ms_x; b=2"), "maple_session"),
            Some("ms_x")
        );
        assert_eq!(
            cookie(&with(header::COOKIE, "xmaple_session=ms_x"), "maple_session"),
            None
        );
    }

    #[test]
    fn every_cookie_of_a_name_is_found_and_one_is_kept() {
        let mut headers = with(header::COOKIE, "maple_session=planted; a=1; maple_session=own");
        headers.append(header::COOKIE, HeaderValue::from_static("maple_session=third; b=2"));
        let found: Vec<_> = cookies(&headers, "maple_session").map(str::to_owned).collect();
        assert_eq!(found, ["planted", "own", "third"]);
        keep_only(&mut headers, "maple_session", "own");
        assert_eq!(headers[header::COOKIE], "maple_session=own; a=1; b=2");
    }

    /// A sibling domain may set cookies, of any bytes, for this one too.
    #[test]
    fn a_cookie_that_cannot_be_read_hides_no_other() {
        let mut headers = HeaderMap::new();
        let sent =
            HeaderValue::from_bytes(b"theme=d\xc3\xa4mmer; x=\xff; maple_session=own;maple_session=\xff").unwrap();
        headers.insert(header::COOKIE, sent);
        assert_eq!(cookies(&headers, "maple_session").collect::<Vec<_>>(), ["own"]);
        keep_only(&mut headers, "maple_session", "own");
        assert_eq!(cookie(&headers, "maple_session"), Some("own"));
        assert!(
            headers[header::COOKIE]
                .as_bytes()
                .ends_with(b"theme=d\xc3\xa4mmer; x=\xff")
        );
    }

    proptest! {
        #[test]
        fn headers_never_panic(value in "[ -~]{0,80}") {
            let _ = bearer(&with(header::AUTHORIZATION, &value));
            let _ = cookie(&with(header::COOKIE, &value), "maple_session");
        }
    }
}
