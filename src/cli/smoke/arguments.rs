//! What the arguments and variables may be.

use std::time::Duration;

use url::Url;

const DEFAULT_TIMEOUT_SECONDS: u32 = 120;
/// Five digits.
const MAX_TIMEOUT_SECONDS: u32 = 99_999;

/// Without the `/` at its end.
pub(super) fn base_address(text: &str) -> Result<String, &'static str> {
    const EXPECTED: &str = "must be an http or https address without credentials, query or fragment";
    let url = Url::parse(text).map_err(|_| EXPECTED)?;
    let is_plain = url.username().is_empty() && url.password().is_none() && !text.contains(['@', '\\', '"']);
    if !matches!(url.scheme(), "http" | "https") || !is_plain || url.query().is_some() || url.fragment().is_some() {
        return Err(EXPECTED);
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// A variable that is set to nothing is one that is not set.
pub(super) fn timeout(text: &str) -> Result<Duration, &'static str> {
    let seconds = match text {
        "" => Some(DEFAULT_TIMEOUT_SECONDS),
        text => text
            .parse()
            .ok()
            .filter(|seconds| (1..=MAX_TIMEOUT_SECONDS).contains(seconds)),
    };
    let seconds = seconds.ok_or("must be a number of seconds from 1 to 99999")?;
    Ok(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::{base_address, timeout};
    use std::time::Duration;

    #[test]
    fn addresses_have_no_credentials_query_or_fragment() {
        assert_eq!(base_address("https://maple.example/").unwrap(), "https://maple.example");
        assert_eq!(
            base_address("http://10.0.0.7:9464/a/").unwrap(),
            "http://10.0.0.7:9464/a"
        );
        for text in [
            "",
            "maple.example",
            "ftp://a",
            "http://",
            "http://user:word@a",
            "http://@a",
            "http://a?b",
            "http://a#b",
            "http://a\\b",
        ] {
            base_address(text).unwrap_err();
        }
    }

    #[test]
    fn an_empty_timeout_is_the_default() {
        assert_eq!(timeout("").unwrap(), Duration::from_mins(2));
        assert_eq!(timeout("1").unwrap(), Duration::from_secs(1));
        for text in ["soon", "0", "-1", "100000"] {
            timeout(text).unwrap_err();
        }
    }
}
