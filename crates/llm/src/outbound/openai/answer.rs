//! Whole answers: whether what came under a status of success is one.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;

use super::{
    chunk::{BodyUsage, ReportedUsage, scan_chunk, usage_of_body},
    frames::{AnswerFault, AnswerProgress, NO_ANSWER},
};
use crate::{Endpoint, conversion, sse};

/// A whole answer, and what it says of its size.
#[derive(Debug)]
pub struct WholeAnswer {
    pub body: Bytes,
    pub usage: BodyUsage,
}

/// Why a body is no answer.
#[derive(Debug)]
pub struct NoAnswer {
    pub fault: AnswerFault,
    /// What it says that it has cost all the same.
    pub spent: Option<ReportedUsage>,
}

/// Reads a body that came under a status of success.
pub fn read(endpoint: Endpoint, body: &Bytes) -> Result<WholeAnswer, NoAnswer> {
    match whole(endpoint, body.clone()) {
        Ok(body) => Ok(WholeAnswer {
            usage: usage_of_body(&body, endpoint == Endpoint::ChatCompletions),
            body,
        }),
        Err(fault) => Err(NoAnswer {
            fault,
            spent: spent(body),
        }),
    }
}

/// Whether a body is a complete answer to a request for so many choices, and not an empty one: what is worth remembering.
pub fn is_full(endpoint: Endpoint, body: &[u8], choices: u32) -> bool {
    let info = scan_chunk(body);
    match endpoint {
        Endpoint::ChatCompletions => choices > 0 && info.complete == choices && info.has_substance,
        Endpoint::Embeddings => info.has_data,
    }
}

/// The body of a whole answer, if it is one: gateways report failures with status 200 as well (maximhq/bifrost #5963). Events
/// that nobody asked for are put together.
pub fn whole(endpoint: Endpoint, body: Bytes) -> Result<Bytes, AnswerFault> {
    if sse::begins_as_events(&body) == Some(true) {
        return assembled(endpoint, &body);
    }
    if endpoint == Endpoint::Embeddings && !has_vectors(&body) {
        let failed = scan_chunk(&body).failed;
        return Err(if failed { AnswerFault::Error } else { NO_ANSWER });
    }
    if looks_answered(endpoint, &body) {
        return Ok(body);
    }
    let info = scan_chunk(&body);
    let is_answer = match endpoint {
        Endpoint::ChatCompletions => info.has_choices,
        Endpoint::Embeddings => info.has_data,
    };
    match (info.failed, is_answer) {
        (true, _) => Err(AnswerFault::Error),
        (false, true) => Ok(body),
        (false, false) => Err(NO_ANSWER),
    }
}

/// The usage that an invalid answer reports all the same.
#[cold]
pub fn spent(body: &[u8]) -> Option<ReportedUsage> {
    if sse::begins_as_events(body) == Some(true) {
        sse::events(body)
            .filter_map(|event| scan_chunk(event.data()).usage)
            .last()
    } else {
        scan_chunk(body).usage
    }
}

/// Tells the common answer without reading all of it: there is a list with something in it, and no word of an error.
fn looks_answered(endpoint: Endpoint, body: &[u8]) -> bool {
    /// Servers begin with an id, a time and the model's name.
    const BEGINNING: usize = 512;
    /// Made once: making one costs as much as a search.
    static FINDERS: LazyLock<[Finder<'static>; 3]> =
        LazyLock::new(|| [&b"\"choices\":[{"[..], b"\"data\":[{", b"\"error\""].map(Finder::new));
    let [choices, data, error] = &*FINDERS;
    let list = match endpoint {
        Endpoint::ChatCompletions => choices,
        Endpoint::Embeddings => data,
    };
    let beginning = &body[..body.len().min(BEGINNING)];
    let is_there = list
        .find(beginning)
        .is_some_and(|at| at > 0 && beginning[at - 1] != b'\\');
    is_there && error.find(body).is_none()
}

/// Whether there is a vector, and nothing in the place of any: servers answer an input that they could not embed with `null` or an empty
/// list. Not one number is read, and a text cannot be taken for a key: quotes in it have a backslash before them.
fn has_vectors(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"embedding\"";
    let mut is_there = false;
    for at in memchr::memmem::find_iter(body, KEY) {
        let rest = body[at + KEY.len()..].trim_ascii_start();
        // `"object": "embedding"` is a value.
        let Some(value) = rest.strip_prefix(b":") else { continue };
        let value = value.trim_ascii_start();
        let is_empty_list = || {
            value
                .strip_prefix(b"[")
                .is_some_and(|list| list.trim_ascii_start().starts_with(b"]"))
        };
        if value.starts_with(b"null") || value.starts_with(b"\"\"") || is_empty_list() {
            return false;
        }
        is_there = true;
    }
    is_there
}

fn assembled(endpoint: Endpoint, events: &[u8]) -> Result<Bytes, AnswerFault> {
    if endpoint != Endpoint::ChatCompletions {
        return Err(AnswerFault::NoAnswer("it is a stream of events"));
    }
    let mut progress = AnswerProgress::of(1);
    let mut end = events.len();
    for event in sse::events(events) {
        if sse::is_done(event.data()) {
            progress.mark();
            end = event.range().end;
            break;
        }
        let chunk = scan_chunk(event.data());
        if chunk.failed || chunk.is_malformed || event.is_error() {
            progress.fail();
        }
        progress.note(&chunk, drop);
    }
    progress.end()?;
    let whole = conversion::chunks_to_completion_lenient(&events[..end]);
    whole
        .map(Bytes::from)
        .ok_or(AnswerFault::NoAnswer("its events are not chunks of an answer"))
}

#[cfg(test)]
mod tests;
