//! Taking in whole answers.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::timeout;

use super::{Limits, pool::AnswerBody};
use crate::{deadline, provider::ProviderError};

/// Memory taken on a promised length alone, in bytes.
const MOST_RESERVED: usize = 1024 * 1024;
/// An error's body is read this far and long, so that its connection can be used again.
const DRAIN_LIMIT: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_millis(100);

/// Reads a body whole, within the limits on pauses, time and size. One that comes in one piece is not copied.
pub(super) async fn collect(
    body: &mut AnswerBody,
    largest: usize,
    limits: Limits,
    started: Instant,
) -> Result<Bytes, ProviderError> {
    const TOO_LARGE: ProviderError = ProviderError::BadReply("it is too large");
    if body.size_hint().lower() > largest as u64 {
        return Err(TOO_LARGE);
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let mut is_total = false;
        let limit = || {
            let left = limits.total.saturating_sub(started.elapsed());
            is_total = left <= limits.chunk;
            limits.chunk.min(left)
        };
        let data = match deadline::within_what_is_left(limit, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(Some(Err(error))) => return Err(ProviderError::BrokenOff(Box::new(error))),
            Err(_) if is_total => return Err(ProviderError::TotalTimeout(limits.total)),
            Err(_) => return Err(ProviderError::ChunkTimeout(limits.chunk)),
        };
        if first.len() + all.len() + data.len() > largest {
            return Err(TOO_LARGE);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                let promised = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                all.reserve(first.len() + data.len() + promised.min(MOST_RESERVED));
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads the body of a failure away, if it is short and quick. Whether it was read to its end.
pub(super) async fn drain(body: &mut AnswerBody) -> bool {
    let read = http_body_util::Limited::new(body, DRAIN_LIMIT).collect();
    matches!(timeout(DRAIN_TIME, read).await, Ok(Ok(_)))
}
