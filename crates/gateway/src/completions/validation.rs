//! Checks that an answer is complete, streamed or whole.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde_json::{Value, json};

use llm::openai::conversion;
use llm::{
    Endpoint,
    sse::{self, ChunkInfo, ReportedUsage},
};
use provider::{Provider, ProviderError, Stage};

/// What a stream has contained so far.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each says something else of the stream")]
pub(super) struct StreamValidator {
    /// A chunk with choices.
    has_answer: bool,
    has_text: bool,
    /// A finish reason, and no text since.
    is_finished: bool,
    /// Choices that have not finished.
    open: u32,
    /// `[DONE]` has come.
    pub(super) is_marked: bool,
    /// An error event has come, which the caller has seen.
    pub(super) has_failed: bool,
}

impl StreamValidator {
    /// For a request of so many choices.
    pub(super) fn of(choices: u32) -> Self {
        Self {
            has_answer: false,
            has_text: false,
            is_finished: false,
            open: choices.max(1),
            is_marked: false,
            has_failed: false,
        }
    }

    /// Records a chunk, and reports the stage that the answer reaches with it. One of several choices finishes before the others,
    /// and some gateways send a finish reason with every chunk (1jehuang/jcode #1326): text after it reopens the answer.
    pub(super) fn note(&mut self, chunk: &ChunkInfo, mut reach: impl FnMut(Stage)) {
        self.has_answer |= chunk.has_choices;
        if chunk.text_bytes > 0 && (self.is_finished || !self.has_text) {
            self.is_finished = false;
            self.has_text = true;
            reach(Stage::Content);
        }
        if chunk.finished > 0 {
            self.is_finished = true;
            self.open = self.open.saturating_sub(chunk.finished);
            if self.open == 0 {
                reach(Stage::Finished);
            }
        }
    }

    /// Whether nothing more goes to the caller. Some servers keep the connection open after an error as well
    /// (EricLBuehler/mistral.rs #1874).
    pub(super) fn is_over(self) -> bool {
        self.is_marked || self.has_failed
    }

    /// Whether a stream that ends here is complete. A killed worker or a restarted proxy also ends its stream cleanly
    /// (NVIDIA/TensorRT-LLM #18289). Many servers send no `[DONE]`, and some no finish reason, but a complete answer has at least
    /// one of them.
    pub(super) fn end(self) -> Result<(), ProviderError> {
        if self.has_failed {
            Err(ProviderError::ErrorInAnswer)
        } else if !(self.is_finished || self.is_marked) {
            Err(ProviderError::EndedEarly)
        } else if self.has_answer {
            Ok(())
        } else {
            Err(NO_ANSWER)
        }
    }
}

const NO_ANSWER: ProviderError = ProviderError::BadReply("there is no answer in it");

/// The body of a whole answer, if it is one: gateways report failures with status 200 as well (maximhq/bifrost #5963). Events
/// that nobody asked for are put together.
pub(super) fn whole(endpoint: Endpoint, body: Bytes) -> Result<Bytes, ProviderError> {
    if sse::begins_as_events(&body) == Some(true) {
        return assembled(endpoint, &body);
    }
    if endpoint == Endpoint::Embeddings && !has_vectors(&body) {
        let failed = sse::scan_chunk(&body).failed;
        return Err(if failed {
            ProviderError::ErrorInAnswer
        } else {
            NO_ANSWER
        });
    }
    if looks_answered(endpoint, &body) {
        return Ok(body);
    }
    let info = sse::scan_chunk(&body);
    let is_answer = match endpoint {
        Endpoint::ChatCompletions => info.has_choices,
        Endpoint::Embeddings => info.has_data,
    };
    match (info.failed, is_answer) {
        (true, _) => Err(ProviderError::ErrorInAnswer),
        (false, true) => Ok(body),
        (false, false) => Err(NO_ANSWER),
    }
}

/// The usage that an invalid answer reports all the same.
#[cold]
pub(super) fn spent(body: &[u8]) -> Option<ReportedUsage> {
    if sse::begins_as_events(body) == Some(true) {
        sse::events(body)
            .filter_map(|event| sse::scan_chunk(event.data()).usage)
            .last()
    } else {
        sse::scan_chunk(body).usage
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

fn assembled(endpoint: Endpoint, events: &[u8]) -> Result<Bytes, ProviderError> {
    if endpoint != Endpoint::ChatCompletions {
        return Err(ProviderError::BadReply("it is a stream of events"));
    }
    let mut validation = StreamValidator::of(1);
    let mut end = events.len();
    for event in sse::events(events) {
        if sse::is_done(event.data()) {
            validation.is_marked = true;
            end = event.range().end;
            break;
        }
        let chunk = sse::scan_chunk(event.data());
        validation.has_failed |= chunk.failed || chunk.is_malformed || event.is_error();
        validation.note(&chunk, drop);
    }
    validation.end()?;
    let whole = conversion::chunks_to_completion_lenient(&events[..end]);
    whole
        .map(Bytes::from)
        .ok_or(ProviderError::BadReply("its events are not chunks of an answer"))
}

/// An error event in the shape that OpenAI's clients raise; some servers send other shapes. The message stays, except that
/// secrets and internal ids are redacted.
pub(super) fn error_event(provider: &dyn Provider, data: &[u8]) -> Bytes {
    let data = provider.redacted(data);
    let parsed = serde_json::from_slice::<Value>(&data);
    let is_error_object = parsed
        .as_ref()
        .is_ok_and(|object| object.get("error").is_some_and(|error| !error.is_null()));
    let (before, object, after) = match parsed {
        Ok(_) if is_error_object => ("data: ", data, "\n\n"),
        Ok(value) => {
            // Where it is not the object itself, it is in the choice.
            let nested = value.pointer("/choices/0/error").filter(|error| !error.is_null());
            let text = sse::fault::with_message(nested.unwrap_or(&value).clone()).to_string();
            ("data: {\"error\":", text.into_bytes().into(), "}\n\n")
        }
        Err(_) => {
            // Half of a chunk is nothing to be told in words.
            let is_half = data.trim_ascii_start().starts_with(b"{");
            let words: &[u8] = if is_half {
                b"the provider sent an event that is not JSON"
            } else {
                &data
            };
            let text = String::from_utf8_lossy(words);
            let text =
                json!({"message": text, "type": "server_error", "param": null, "code": "provider_error"}).to_string();
            ("data: {\"error\":", text.into_bytes().into(), "}\n\n")
        }
    };
    [before.as_bytes(), &object, after.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests;
