//! Tags by which a browser or CDN asks whether what it has is still so (RFC 9110 8.8.3, 13.1.2).

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::cache_control::CacheClass;
use crate::state::AppState;

/// Larger answers go out without a tag: they would have to be held as a whole.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Tags answers where the edge has noted a class that wants it. Inside compression, so that all encodings of one answer
/// have one tag, which is a weak one therefore.
pub fn tags(router: Router<AppState>) -> Router<AppState> {
    router.layer(from_fn(tag))
}

async fn tag(request: Request, next: Next) -> Response {
    let wanted = request
        .extensions()
        .get::<CacheClass>()
        .is_some_and(|class| class.has_tag());
    if !wanted {
        return next.run(request).await;
    }
    let asked: Vec<HeaderValue> = request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .cloned()
        .collect();
    let response = next.run(request).await;
    let small = response.body().size_hint().exact().is_some_and(|size| size <= LARGEST);
    // One that has its tag already was made once, and is not hashed anew each time.
    if response.status() != StatusCode::OK || !small || response.headers().contains_key(header::ETAG) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        // A body whose size is known is in memory; reading it does not fail.
        return Response::from_parts(parts, Body::empty());
    };
    let Some(tag) = tag_of(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    let unchanged = asked.iter().any(|asked| names(asked, &tag));
    parts.headers.insert(header::ETAG, tag);
    if !unchanged {
        return Response::from_parts(parts, Body::from(bytes));
    }
    parts.status = StatusCode::NOT_MODIFIED;
    drop_content(&mut parts.headers);
    Response::from_parts(parts, Body::empty())
}

pub(super) fn tag_of(body: &[u8]) -> Option<HeaderValue> {
    let hash = blake3::hash(body).to_hex();
    HeaderValue::from_str(&format!("W/\"{}\"", &hash[..32])).ok()
}

/// Whether `If-None-Match` names the tag, compared weakly.
pub(super) fn names(asked: &HeaderValue, tag: &HeaderValue) -> bool {
    let strong = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    let (Ok(asked), Ok(tag)) = (asked.to_str(), tag.to_str()) else {
        return false;
    };
    asked.trim() == "*" || asked.split(',').any(|one| strong(one) == strong(tag))
}

fn drop_content(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_TYPE);
    headers.remove(header::CONTENT_LENGTH);
}

#[cfg(test)]
mod tests {
    use super::{names, tag_of};
    use http::HeaderValue;

    #[test]
    fn tags_are_compared_weakly() {
        let tag = tag_of(b"body").unwrap();
        let text = tag.to_str().unwrap().to_owned();
        let strong = text.trim_start_matches("W/").to_owned();
        for asked in [
            text.clone(),
            strong.clone(),
            "*".to_owned(),
            format!("\"x\", {text} ,\"y\""),
        ] {
            assert!(names(&HeaderValue::from_str(&asked).unwrap(), &tag), "{asked}");
        }
        for asked in ["", "\"x\"", "W/\"\"", strong.trim_matches('"')] {
            assert!(!names(&HeaderValue::from_str(asked).unwrap(), &tag), "{asked}");
        }
        assert_ne!(tag_of(b"body"), tag_of(b"bodY"));
    }
}
