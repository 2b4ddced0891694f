//! What an upstream says beside its answers: when to come back, and which models it has.

#[path = "../../crates/provider/src/openai/models.rs"]
mod models;
#[path = "../../crates/provider/src/exchange/retry.rs"]
mod retry;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

const MILLISECONDS: HeaderName = HeaderName::from_static("retry-after-ms");
const DAY: Duration = Duration::from_hours(24);

pub fn check(data: &[u8]) {
    if let Some(ids) = models::ids_of(data) {
        assert!(ids.len() <= data.len());
    }
    let Some((one, other)) = crate::cut(data) else { return };
    let (Ok(one), Ok(other)) = (HeaderValue::from_bytes(one), HeaderValue::from_bytes(other)) else {
        return;
    };
    for name in [header::DATE, MILLISECONDS] {
        let mut said = HeaderMap::new();
        said.insert(header::RETRY_AFTER, one.clone());
        said.insert(name, other.clone());
        let after = retry::of_busy(StatusCode::SERVICE_UNAVAILABLE, &said);
        assert!(after.is_none_or(|after| after <= DAY), "{after:?}");
        let mut passed = HeaderMap::new();
        retry::pass(StatusCode::TOO_MANY_REQUESTS, &said, &mut passed);
        let number = |name| -> Option<u64> { Some(passed.get(name)?.to_str().ok()?.parse().expect("a number")) };
        let (seconds, milliseconds) = (number(header::RETRY_AFTER), number(MILLISECONDS));
        assert!(seconds.is_none_or(|seconds| seconds <= DAY.as_secs()));
        assert!(milliseconds.is_none_or(|milliseconds| milliseconds <= DAY.as_secs() * 1000));
        assert_eq!(seconds.is_some(), after.is_some(), "both are told or none");
    }
}
