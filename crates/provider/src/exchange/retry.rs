//! When an upstream that has had enough wants to be asked again, and how the caller is told.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// OpenAI's, which its clients look at before the standard one.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// What is longer is not meant for a program that waits.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// For the two statuses by which an upstream says that it has more to do than it can.
pub(super) fn of_busy(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    const OVERLOADED: u16 = 529;
    let is_busy = status == StatusCode::SERVICE_UNAVAILABLE || status.as_u16() == OVERLOADED;
    is_busy.then(|| milliseconds(headers).or_else(|| standard(headers)))?
}

/// Puts into a refusal what its caller is told: whole seconds, and the milliseconds only where the upstream had some. What cannot be
/// read is left out, for clients would wait by it in ways that nobody foresees.
pub(super) fn pass(status: StatusCode, upstream: &HeaderMap, headers: &mut HeaderMap) {
    if !status.is_client_error() {
        return;
    }
    let precise = milliseconds(upstream);
    if let Some(after) = precise {
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(up_to_u64(after.as_millis())));
    }
    if let Some(after) = standard(upstream).or(precise) {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// `Retry-After` (RFC 9110 10.2.3): seconds, or a date, which is compared with the upstream's own.
fn standard(headers: &HeaderMap) -> Option<Duration> {
    let after = text(headers, &header::RETRY_AFTER)?;
    // A fraction is none of RFC 9110's, but OpenAI's clients take one.
    if let Some(seconds) = number(after) {
        return Some(Duration::from_secs_f64(seconds.min(MAX_RETRY_AFTER.as_secs_f64())));
    }
    let until = date(after)? - date(text(headers, &header::DATE)?)?;
    Some(until.to_std().unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// `retry-after-ms`, which may have a fraction.
fn milliseconds(headers: &HeaderMap) -> Option<Duration> {
    let milliseconds = number(text(headers, &RETRY_AFTER_MS)?)?.ceil();
    let longest = MAX_RETRY_AFTER.as_secs_f64() * 1000.0;
    Some(Duration::from_secs_f64(milliseconds.min(longest) / 1000.0))
}

/// Digits, with a point among them or without.
fn number(text: &str) -> Option<f64> {
    let is_number = text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_number)
}

/// Each of the three forms that a date in HTTP has (RFC 9110 5.6.7).
fn date(text: &str) -> Option<DateTime<Utc>> {
    const OLDER: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let usual = DateTime::parse_from_rfc2822(text).ok().map(|date| date.to_utc());
    let older = || {
        OLDER
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
    };
    usual.or_else(|| Some(older()?.and_utc()))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

fn up_to_u64(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{of_busy, pass};
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
    use std::time::Duration;

    fn upstream(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let dated = [("date", "Sun, 06 Nov 1994 08:49:27 GMT")];
        let all = dated.iter().chain(headers);
        all.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_time_to_come_back_is_read_in_all_forms() {
        let read = |status: u16, text: &'static str| {
            of_busy(
                StatusCode::from_u16(status).unwrap(),
                &upstream(&[("retry-after", text)]),
            )
        };
        assert_eq!(read(503, "20"), Some(Duration::from_secs(20)));
        assert_eq!(read(529, " 7 "), Some(Duration::from_secs(7)));
        assert_eq!(read(503, "1.5"), Some(Duration::from_millis(1500)));
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(read(503, date), Some(Duration::from_secs(10)), "{date}");
        }
        assert_eq!(read(503, "Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for long in [
            "99999999999",
            "99999999999999999999999999",
            "Sat, 06 Nov 2094 08:49:37 GMT",
        ] {
            assert_eq!(read(503, long), Some(Duration::from_hours(24)));
        }
        for (status, text) in [
            (503, "soon"),
            (503, "-1"),
            (503, "+1"),
            (503, ""),
            (503, "1.5.0"),
            (503, ".5"),
            (503, "1e3"),
            (500, "20"),
            (502, "20"),
        ] {
            assert_eq!(read(status, text), None, "{status} {text}");
        }
        let both = upstream(&[("retry-after", "2"), ("retry-after-ms", "1500")]);
        assert_eq!(
            of_busy(StatusCode::SERVICE_UNAVAILABLE, &both),
            Some(Duration::from_millis(1500))
        );
    }

    #[test]
    fn a_caller_is_told_numbers_within_bounds_or_nothing() {
        let passed = |status: u16, headers: &[(&'static str, &'static str)]| {
            let mut passed = HeaderMap::new();
            pass(StatusCode::from_u16(status).unwrap(), &upstream(headers), &mut passed);
            let text = |name: &str| passed.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
            (text(header::RETRY_AFTER.as_str()), text("retry-after-ms"))
        };
        let said = |seconds: &str, milliseconds: &str| (seconds.to_owned(), milliseconds.to_owned());
        assert_eq!(passed(429, &[("retry-after", "20")]), said("20", ""));
        assert_eq!(
            passed(413, &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]),
            said("10", "")
        );
        assert_eq!(passed(429, &[("retry-after", "99999999999")]), said("86400", ""));
        assert_eq!(passed(429, &[("retry-after-ms", "1250.5")]), said("2", "1251"));
        assert_eq!(
            passed(429, &[("retry-after-ms", "9e99"), ("retry-after", "3")]),
            said("3", "")
        );
        assert_eq!(
            passed(429, &[("retry-after-ms", "999999999999999999999")]),
            said("86400", "86400000")
        );
        for nothing in ["soon", "", "-5", "NaN", "inf", ".", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(
                passed(429, &[("retry-after", nothing), ("retry-after-ms", nothing)]),
                said("", ""),
                "{nothing}"
            );
        }
        assert_eq!(passed(200, &[("retry-after", "20")]), said("", ""));
    }
}
