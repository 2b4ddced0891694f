//! The body of a request: bounded in size and time, and in how many are read at once.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::Request,
    http::{HeaderMap, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{sync::SemaphorePermit, time::timeout};

use super::{App, error::RequestError};

/// Several times what fits into any context; more is not read.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Bodies that are read, or split into tokens, at the same time: this many megabytes.
pub(super) const MAX_BODIES: usize = 16;

/// From the head to the body's end. On loopback it takes milliseconds.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// The body, and its place among those that are read: it is given back once the prompt is made.
pub(super) async fn read(app: &App, request: Request) -> Result<(Bytes, SemaphorePermit<'_>), RequestError> {
    let (head, body) = request.into_parts();
    if let Some(coding) = coding(&head.headers) {
        return Err(RequestError::Coding(coding));
    }
    if body_length(&head.headers).is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(RequestError::TooLarge(MAX_BODY_BYTES));
    }
    let place = app.bodies.try_acquire().map_err(|_| RequestError::TooManyBodies)?;
    let read = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match read {
        Ok(Ok(body)) => Ok((body.to_bytes(), place)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(RequestError::TooLarge(MAX_BODY_BYTES)),
        Ok(Err(error)) => Err(RequestError::BrokenBody(error.to_string())),
        Err(_) => Err(RequestError::BrokenBody(format!(
            "it did not end within {} s",
            BODY_TIMEOUT.as_secs()
        ))),
    }
}

fn coding(headers: &HeaderMap) -> Option<String> {
    let coding = headers.get(header::CONTENT_ENCODING)?.to_str().unwrap_or("another");
    (!coding.eq_ignore_ascii_case("identity")).then(|| coding.chars().take(32).collect())
}

fn body_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
