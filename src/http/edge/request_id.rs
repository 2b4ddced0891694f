//! The id that ties an answer, its log lines and a person's question together.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Longest id that is taken over from a caller.
const MAX_LENGTH: usize = 128;

static NAME: HeaderName = HeaderName::from_static("x-request-id");

/// The caller's own `X-Request-Id` if it is one, else a new UUIDv7.
#[derive(Debug, Clone)]
pub struct RequestId(Arc<str>);

impl RequestId {
    pub(in crate::http) fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get(&NAME).and_then(|value| value.to_str().ok());
        match sent {
            Some(id) if is_plain(id) => Self(id.into()),
            _ => {
                let mut text = [0_u8; uuid::fmt::Hyphenated::LENGTH];
                Self(Arc::from(&*Uuid::now_v7().as_hyphenated().encode_lower(&mut text)))
            }
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    pub(in crate::http) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
    }
}

/// What can stand in a header, a log line and a page without being escaped.
fn is_plain(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_LENGTH
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/' | b'=' | b'+'))
}

#[cfg(test)]
mod tests {
    use super::RequestId;
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn a_plain_id_is_kept_and_anything_else_replaced() {
        let id = |sent: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", HeaderValue::from_str(sent).unwrap());
            RequestId::of(&headers).as_str().to_owned()
        };
        assert_eq!(id("req-42_a.b"), "req-42_a.b");
        for bad in ["", "<script>", "a b", &"x".repeat(129)] {
            assert_ne!(id(bad), *bad);
        }
        assert_eq!(RequestId::of(&HeaderMap::new()).as_str().len(), 36);
    }
}
