//! Static files under their hashed names, compressed beforehand.

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};

use crate::{
    api_error::ApiError,
    http::layers::Prepared,
    web::assets::{self, Encoding, Variants},
};

pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let asset = assets::find(&name).ok_or_else(ApiError::not_found)?;
    let mut response = prepared(&asset.content, &headers);
    if let Ok(content_type) = HeaderValue::from_str(&asset.content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    Ok(response)
}

/// What was compressed beforehand, in the best encoding that the caller takes. Whatever that is, it is not compressed anew.
pub(in crate::http) fn prepared(content: &Variants, headers: &HeaderMap) -> Response {
    let (encoding, content) = content.best(&accepted(headers));
    let mut response = content.into_response();
    if let Some(encoding) = encoding {
        let encoding = HeaderValue::from_static(encoding.as_str());
        response.headers_mut().insert(header::CONTENT_ENCODING, encoding);
    }
    response.extensions_mut().insert(Prepared);
    response
}

/// The encodings that the caller takes, the smallest first (RFC 9110 12.5.3).
fn accepted(headers: &HeaderMap) -> Vec<Encoding> {
    let offers: Vec<(String, bool)> = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|offer| {
            let mut parts = offer.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            (name, quality.unwrap_or(1.0) > 0.0)
        })
        .collect();
    let takes = |name: &str| {
        let named = offers.iter().find(|(offered, _)| offered == name);
        named
            .or_else(|| offers.iter().find(|(offered, _)| offered == "*"))
            .is_some_and(|(_, takes)| *takes)
    };
    Encoding::ALL
        .into_iter()
        .filter(|encoding| takes(encoding.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Encoding, accepted};
    use http::{HeaderMap, HeaderValue, header};

    #[test]
    fn what_is_accepted() {
        for (offer, takes) in [
            ("gzip, deflate, br, zstd", vec![Encoding::Brotli, Encoding::Gzip]),
            ("GZIP;q=0.5", vec![Encoding::Gzip]),
            ("*", vec![Encoding::Brotli, Encoding::Gzip]),
            ("*, br;q=0", vec![Encoding::Gzip]),
            ("identity", vec![]),
            ("br;q=0, gzip;q=0.000", vec![]),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(offer))]);
            assert_eq!(accepted(&headers), takes, "{offer}");
        }
        assert!(accepted(&HeaderMap::new()).is_empty());
    }
}
