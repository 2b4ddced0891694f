//! Reading and adjusting a request body without rebuilding it: fields that we do not know pass through as they came.

mod fields;
mod members;
mod prompt;

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::{Endpoint, canonical::Member};
pub use members::{Members, Message};

/// Where callers find an operation, below the version.
pub fn path(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions => "/chat/completions",
        Endpoint::Embeddings => "/embeddings",
    }
}

/// Why a body is refused. `param` names the field, as in OpenAI's errors.
#[derive(Debug, thiserror::Error)]
pub enum BadRequest {
    #[error("the body is not valid JSON: {0}")]
    Json(#[source] serde_json::Error),
    #[error("the body is not valid UTF-8")]
    Utf8(#[from] std::str::Utf8Error),
    #[error("you must provide a {0} parameter")]
    Missing(&'static str),
    #[error("invalid type for '{param}': expected {expected}")]
    WrongType {
        param: &'static str,
        expected: &'static str,
    },
    /// An upstream that is not strict about names would take it for `meant`.
    #[error("unknown parameter '{param}'; did you mean '{meant}'")]
    Misspelt { param: String, meant: &'static str },
}

impl BadRequest {
    /// The field that is at fault, if it is one.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Missing(param) | Self::WrongType { param, .. } | Self::Misspelt { meant: param, .. } => Some(param),
            Self::Json(_) | Self::Utf8(_) => None,
        }
    }
}

/// Every field is raw, so that a wrong type is reported by its name and no value is parsed that we do not need.
const FIELDS: [&str; 9] = [
    "model",
    "stream",
    "stream_options",
    "messages",
    "input",
    "temperature",
    "seed",
    "store",
    "n",
];

/// What routing, policy, the answer cache and metering need to know of a request.
#[derive(Debug)]
pub struct RequestView<'a> {
    pub model: Cow<'a, str>,
    pub form: ResponseForm,
    /// It asks for the same answer each time: temperature 0, or a seed.
    pub repeatable: bool,
    /// The upstream is to keep the answer, which a remembered one would not make it do.
    pub kept_upstream: bool,
    /// How many answers are asked for; 0 if that cannot be read.
    pub choices: u32,
    pub raw_model: &'a str,
    /// As it is written, `null` included.
    pub raw_stream_options: Option<&'a str>,
    /// All of the body, of which the cache key is made; `None` if there are too many, so that it has none.
    pub members: Option<Vec<Member<'a>>>,
}

/// What a provider is sent of a request.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub body: Bytes,
    /// It asks for usage in words that are not the caller's: [`without_added_usage`] takes them out again.
    pub has_added_usage: bool,
}

/// In what form an answer is wanted, and how much it answers: all that a remembered one needs to know of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseForm {
    pub streamed: bool,
    /// The caller asked for the usage chunk.
    pub include_usage: bool,
    /// What the prompt counts as, the basis of an estimate.
    pub input_bytes: usize,
}

impl<'a> RequestView<'a> {
    pub fn read(body: &'a [u8], endpoint: Endpoint) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(body)?;
        let found = fields::read(text, &FIELDS).map_err(|error| {
            if error.is_data() && !text.trim_start().starts_with('{') {
                BadRequest::WrongType {
                    param: "body",
                    expected: "an object",
                }
            } else {
                BadRequest::Json(error)
            }
        })?;
        if let Some((param, meant)) = found.misspelt {
            return Err(BadRequest::Misspelt { param, meant });
        }
        let [
            model,
            stream,
            stream_options,
            messages,
            input,
            temperature,
            seed,
            store,
            n,
        ] = found.values;
        let raw_model = model
            .map(RawValue::get)
            .filter(|raw| *raw != "null")
            .ok_or(BadRequest::Missing("model"))?;
        let model = unquote(raw_model).ok_or(BadRequest::WrongType {
            param: "model",
            expected: "a string",
        })?;
        let stream = match stream.map(RawValue::get) {
            None | Some("null" | "false") => false,
            Some("true") => true,
            Some(_) => {
                return Err(BadRequest::WrongType {
                    param: "stream",
                    expected: "a boolean",
                });
            }
        };
        let (prompt, name) = match endpoint {
            Endpoint::ChatCompletions => (messages, "messages"),
            Endpoint::Embeddings => (input, "input"),
        };
        let prompt = prompt
            .map(RawValue::get)
            .filter(|raw| *raw != "null")
            .ok_or(BadRequest::Missing(name))?;
        if endpoint == Endpoint::ChatCompletions && !prompt.starts_with('[') {
            return Err(BadRequest::WrongType {
                param: "messages",
                expected: "an array of messages",
            });
        }
        let raw_stream_options = stream_options.map(RawValue::get);
        let include_usage = match raw_stream_options {
            None | Some("null") => false,
            Some(raw) => asks_for_usage(raw)?,
        };
        let given = |field: Option<&'a RawValue>| field.map(RawValue::get).filter(|raw| *raw != "null");
        let cold = given(temperature).is_some_and(|raw| raw.parse() == Ok(0.0_f64));
        Ok(Self {
            repeatable: cold || given(seed).is_some(),
            kept_upstream: given(store).is_some_and(|raw| raw != "false"),
            choices: given(n).map_or(1, |raw| raw.parse().unwrap_or(0)),
            model,
            form: ResponseForm {
                streamed: stream && endpoint == Endpoint::ChatCompletions,
                include_usage,
                input_bytes: prompt::weight(prompt),
            },
            raw_model,
            raw_stream_options,
            members: found.members,
        })
    }

    /// What a provider is sent that calls the model `upstream`. Of one that `reports_usage` where it is asked to, a stream's usage is asked for.
    pub fn outgoing(&self, body: &Bytes, upstream: &str, reports_usage: bool) -> Outgoing {
        let adds_usage = reports_usage && self.form.streamed && !self.form.include_usage;
        Outgoing {
            body: self.for_upstream(body, upstream, adds_usage),
            has_added_usage: adds_usage && self.raw_stream_options.is_none(),
        }
    }

    /// The body for the upstream: the caller's own, with the model's name replaced if the upstream calls it otherwise,
    /// and usage asked for if `add_usage`. Unchanged bodies are not copied.
    pub fn for_upstream(&self, body: &Bytes, upstream: &str, add_usage: bool) -> Bytes {
        let mut edits: Vec<(usize, usize, Cow<'_, str>)> = Vec::new();
        if *self.model != *upstream {
            let (start, end) = place(body, self.raw_model);
            edits.push((start, end, serde_json::Value::from(upstream).to_string().into()));
        }
        if add_usage {
            if let Some(raw) = self.raw_stream_options {
                let (start, end) = place(body, raw);
                edits.push((start, end, with_usage(raw).into()));
            } else {
                // `read` has seen an object with at least one field.
                let end = body.iter().rposition(|byte| *byte == b'}').unwrap_or(body.len());
                edits.push((end, end, Cow::Borrowed(ADDED_USAGE)));
            }
        }
        if edits.is_empty() {
            return body.clone();
        }
        edits.sort_unstable_by_key(|(start, ..)| *start);
        let mut out = BytesMut::with_capacity(body.len() + edits.iter().map(|(.., text)| text.len()).sum::<usize>());
        let mut copied = 0;
        for (start, end, text) in edits {
            out.extend_from_slice(&body[copied..start]);
            out.extend_from_slice(text.as_bytes());
            copied = end;
        }
        out.extend_from_slice(&body[copied..]);
        out.freeze()
    }
}

/// The wish for usage, as it is added to a request that says nothing of it.
const ADDED_USAGE: &str = r#","stream_options":{"include_usage":true}"#;

/// The body for an upstream that does not understand the wish for usage which was added to it.
pub fn without_added_usage(body: &Bytes) -> Bytes {
    match memchr::memmem::rfind(body, ADDED_USAGE.as_bytes()) {
        Some(at) => [&body[..at], &body[at + ADDED_USAGE.len()..]].concat().into(),
        None => body.clone(),
    }
}

/// Where a borrowed part of the body lies in it.
fn place(body: &[u8], part: &str) -> (usize, usize) {
    let start = part.as_ptr().addr() - body.as_ptr().addr();
    (start, start + part.len())
}

/// The text of a JSON string, without a copy where it has no escapes.
fn unquote(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

const STREAM_OPTIONS: BadRequest = BadRequest::WrongType {
    param: "stream_options",
    expected: "an object",
};

fn asks_for_usage(raw: &str) -> Result<bool, BadRequest> {
    if !raw.starts_with('{') {
        return Err(STREAM_OPTIONS);
    }
    let found = fields::read(raw, &["include_usage"]).map_err(|_| STREAM_OPTIONS)?;
    if let Some((param, meant)) = found.misspelt {
        return Err(BadRequest::Misspelt {
            param: format!("stream_options.{param}"),
            meant,
        });
    }
    match found.values[0].map(RawValue::get) {
        None | Some("null" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(BadRequest::WrongType {
            param: "stream_options.include_usage",
            expected: "a boolean",
        }),
    }
}

/// The caller's stream options with usage asked for. Rare: most callers that send options ask for it themselves.
fn with_usage(raw: &str) -> String {
    let mut options: serde_json::Map<String, serde_json::Value> = serde_json::from_str(raw).unwrap_or_default();
    options.insert("include_usage".to_owned(), true.into());
    serde_json::Value::Object(options).to_string()
}

#[cfg(test)]
mod tests;
