//! Static files under their hashed names.

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::header;

use crate::{failure::Failure, web::assets};

/// A hashed name never has other contents, so it may be kept for ever.
pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Failure> {
    let asset = assets::find(&name).ok_or_else(Failure::not_found)?;
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned()),
    ];
    Ok((headers, asset.content.into_owned()).into_response())
}
