//! Taking in whole answers.

use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Body;
use serde_json::json;
use tokio::time::timeout;

use super::{Exchanged, UpstreamTimeouts, VendorFormat};
use crate::{ProviderError, ProviderReply, transport::ResponseBody};
use concurrency::{
    deadline,
    memory::{Allowance, SMALL},
};
use llm::sse;

/// Memory taken on a promised length alone, in bytes.
const MAX_RESERVED_BYTES: usize = 1024 * 1024;
/// An error's body is read this far and long, so that its connection can be used again.
const DRAIN_LIMIT: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_millis(100);

/// Reads as much of a body as shows whether it is a stream of events, and tells.
pub(super) async fn begin(
    body: &mut ResponseBody,
    limits: UpstreamTimeouts,
    started: Instant,
) -> Result<(Bytes, bool), ProviderError> {
    let mut read = BytesMut::new();
    loop {
        let left = || limits.total.saturating_sub(started.elapsed());
        let data = match deadline::within_what_is_left(left, body.frame()).await {
            Ok(None) => return Ok((read.freeze(), false)),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(Some(Err(error))) => return Err(ProviderError::BrokenOff(Box::new(error))),
            Err(_) => return Err(ProviderError::TotalTimeout(limits.total)),
        };
        if read.is_empty()
            && let Some(is_stream) = sse::begins_as_events(&data)
        {
            return Ok((data, is_stream));
        }
        read.extend_from_slice(&data);
        if let Some(is_stream) = sse::begins_as_events(&read) {
            return Ok((read.freeze(), is_stream));
        }
    }
}

/// Reads a body whole, within the limits on pauses, time and size, and counts what is not small before it is read; `first` is what has
/// been read of it. One that comes in one piece is not copied. Until its first byte there is no pause, but a model that thinks. Events
/// that nobody asked for are read up to the mark that ends them, as `ends_answer` says: some proxies never close after it (openai/openai-python #3520). Says
/// whether the body has ended as well.
pub(super) async fn collect(
    body: &mut ResponseBody,
    mut first: Bytes,
    largest: usize,
    limits: UpstreamTimeouts,
    started: Instant,
    memory: Option<&Allowance>,
    ends_answer: impl Fn(&[u8]) -> bool,
) -> Result<(Bytes, bool), ProviderError> {
    const TOO_LARGE: ProviderError = ProviderError::BadReply("it is too large");
    if body.size_hint().lower() > largest as u64 {
        return Err(TOO_LARGE);
    }
    // Servers send white space as a sign of life.
    let mut has_begun = !first.trim_ascii_start().is_empty();
    let promised = usize::try_from(body.size_hint().lower()).unwrap_or(largest);
    let mut room = None;
    if let Some(memory) = memory
        && promised > SMALL
    {
        room.insert(memory.reserve()).grow(promised).await?;
    }
    let mut all = BytesMut::new();
    let mut has_ended = false;
    loop {
        let read = if all.is_empty() { &first[..] } else { &all[..] };
        if ends_answer(read) && sse::begins_as_events(read) == Some(true) {
            break;
        }
        let mut is_total = false;
        let limit = || {
            let left = limits.total.saturating_sub(started.elapsed());
            is_total = !has_begun || left <= limits.chunk;
            if is_total { left } else { limits.chunk }
        };
        let data = match deadline::within_what_is_left(limit, body.frame()).await {
            Ok(None) => {
                has_ended = true;
                break;
            }
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(Some(Err(error))) => return Err(ProviderError::BrokenOff(Box::new(error))),
            Err(_) if is_total => return Err(ProviderError::TotalTimeout(limits.total)),
            Err(_) => return Err(ProviderError::ChunkTimeout(limits.chunk)),
        };
        has_begun = has_begun || !data.trim_ascii_start().is_empty();
        if first.len() + all.len() + data.len() > largest {
            return Err(TOO_LARGE);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            let length = first.len() + all.len() + data.len();
            if let Some(memory) = memory
                && length > SMALL
            {
                let room = room.get_or_insert_with(|| memory.reserve());
                // By half as much more, so that it seldom waits.
                if length > room.bytes() {
                    room.grow((length + length / 2).min(largest)).await?;
                }
            }
            if all.is_empty() {
                let promised = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                all.reserve(first.len() + data.len() + promised.min(MAX_RESERVED_BYTES));
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    let whole = if all.is_empty() { first } else { all.freeze() };
    let whole = match room {
        Some(room) => room.hold(whole),
        None => whole,
    };
    Ok((whole, has_ended))
}

/// A successful answer that is not streamed, under the content type that it has: what the upstream calls it says little.
pub(super) fn whole<F: VendorFormat>(mut headers: HeaderMap, mut body: Bytes) -> Result<Exchanged<F>, ProviderError> {
    if body.starts_with(sse::MARK) {
        body.advance(sse::MARK.len());
    }
    let content_type = if is_json(&body) {
        "application/json"
    } else if sse::begins_as_events(&body) == Some(true) {
        "text/event-stream"
    } else if body.trim_ascii_start().is_empty() {
        return Err(ProviderError::BadReply("it is empty"));
    } else {
        return Err(ProviderError::BadReply("it is neither JSON nor a stream of events"));
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(Exchanged::Whole { headers, body })
}

/// A refusal in the upstream's own words, if they are JSON; a page, or what a proxy says, is replaced.
pub(super) fn refusal<F: VendorFormat>(status: StatusCode, mut headers: HeaderMap, body: &[u8]) -> ProviderReply {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = body.strip_prefix(sse::MARK).unwrap_or(body);
    let body = if is_json(body) {
        F::refusal(body)
    } else {
        let kind = if status == StatusCode::TOO_MANY_REQUESTS {
            "rate_limit_error"
        } else {
            "invalid_request_error"
        };
        let message = format!("the provider refused the request with status {status}");
        let error = json!({"message": message, "type": kind, "param": null, "code": "provider_refused"});
        Bytes::from(json!({"error": error}).to_string())
    };
    ProviderReply::Whole { status, headers, body }
}

fn is_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// Reads the body of a failure away, if it is short and quick.
pub(super) async fn drain(body: &mut ResponseBody) {
    let read = http_body_util::Limited::new(body, DRAIN_LIMIT).collect();
    // What is not read to its end closes the connection.
    let _ = timeout(DRAIN_TIME, read).await;
}
