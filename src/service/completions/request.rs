//! Reading and adjusting a request body without rebuilding it: fields that we do not know pass through as they came.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::provider::Endpoint;

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
}

/// Every field is raw, so that a wrong type is reported by its name and no value is parsed that we do not need.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_written")]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    seed: Option<&'a RawValue>,
    #[serde(borrow)]
    store: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
}

/// A field that is there, even if it says `null`: what is replaced must be found.
fn as_written<'de: 'a, 'a, D: Deserializer<'de>>(field: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(field).map(Some)
}

/// What we need to know of a request.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something else of the request")]
pub(super) struct Request<'a> {
    pub(super) model: Cow<'a, str>,
    pub(super) stream: bool,
    /// The caller asked for the usage chunk.
    pub(super) include_usage: bool,
    /// Size of the prompt's JSON, the basis of an estimate.
    pub(super) input_bytes: usize,
    /// It asks for the same answer each time: temperature 0, or a seed.
    pub(super) repeatable: bool,
    /// The upstream is to keep the answer, which a remembered one would not make it do.
    pub(super) kept_upstream: bool,
    /// How many answers are asked for; 0 if that cannot be read.
    pub(super) choices: u32,
    pub(super) raw_model: &'a str,
    /// As it is written, `null` included.
    pub(super) raw_stream_options: Option<&'a str>,
}

impl<'a> Request<'a> {
    pub(super) fn read(body: &'a [u8], endpoint: Endpoint) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(body)?;
        let fields: Fields<'a> = serde_json::from_str(text).map_err(|error| {
            if error.is_data() && !text.trim_start().starts_with('{') {
                BadRequest::WrongType {
                    param: "body",
                    expected: "an object",
                }
            } else {
                BadRequest::Json(error)
            }
        })?;
        let raw_model = fields
            .model
            .map(RawValue::get)
            .filter(|raw| *raw != "null")
            .ok_or(BadRequest::Missing("model"))?;
        let model = unquote(raw_model).ok_or(BadRequest::WrongType {
            param: "model",
            expected: "a string",
        })?;
        let stream = match fields.stream.map(RawValue::get) {
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
            Endpoint::ChatCompletions => (fields.messages, "messages"),
            Endpoint::Embeddings => (fields.input, "input"),
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
        let raw_stream_options = fields.stream_options.map(RawValue::get);
        let include_usage = match raw_stream_options {
            None | Some("null") => false,
            Some(raw) => asks_for_usage(raw)?,
        };
        let given = |field: Option<&'a RawValue>| field.map(RawValue::get).filter(|raw| *raw != "null");
        let cold = given(fields.temperature).is_some_and(|raw| raw.parse() == Ok(0.0_f64));
        Ok(Self {
            repeatable: cold || given(fields.seed).is_some(),
            kept_upstream: given(fields.store).is_some_and(|raw| raw != "false"),
            choices: given(fields.n).map_or(1, |raw| raw.parse().unwrap_or(0)),
            model,
            stream,
            include_usage,
            input_bytes: prompt.len(),
            raw_model,
            raw_stream_options,
        })
    }

    /// The body for the upstream: the caller's own, with the model's name replaced if the upstream calls it otherwise,
    /// and usage asked for if `add_usage`. Unchanged bodies are not copied.
    pub(super) fn for_upstream(&self, body: &Bytes, upstream: &str, add_usage: bool) -> Bytes {
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
                edits.push((end, end, Cow::Borrowed(r#","stream_options":{"include_usage":true}"#)));
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
    #[derive(Deserialize)]
    struct StreamOptions {
        include_usage: Option<bool>,
    }
    if !raw.starts_with('{') {
        return Err(STREAM_OPTIONS);
    }
    serde_json::from_str::<StreamOptions>(raw)
        .map(|options| options.include_usage.unwrap_or(false))
        .map_err(|_| BadRequest::WrongType {
            param: "stream_options.include_usage",
            expected: "a boolean",
        })
}

/// The caller's stream options with usage asked for. Rare: most callers that send options ask for it themselves.
fn with_usage(raw: &str) -> String {
    let mut options: serde_json::Map<String, serde_json::Value> = serde_json::from_str(raw).unwrap_or_default();
    options.insert("include_usage".to_owned(), true.into());
    serde_json::Value::Object(options).to_string()
}

#[cfg(test)]
mod tests {
    use super::{BadRequest, Request};
    use crate::provider::Endpoint::{ChatCompletions, Embeddings};
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn rewritten(body: &str, upstream: &str, add_usage: bool) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let request = Request::read(&body, ChatCompletions).unwrap();
        String::from_utf8(request.for_upstream(&body, upstream, add_usage).to_vec()).unwrap()
    }

    #[test]
    fn unknown_fields_and_spacing_survive() {
        let body = r#" { "x_new" : [1, {"y":null}],"model":"a", "messages" : [ ], "stream":true } "#;
        assert_eq!(rewritten(body, "a", false), body);
        assert_eq!(
            rewritten(body, "b/\"c", true),
            r#" { "x_new" : [1, {"y":null}],"model":"b/\"c", "messages" : [ ], "stream":true ,"stream_options":{"include_usage":true}} "#
        );
        let options = r#"{"stream_options":{"x":1},"model":"a","messages":[]}"#;
        let value: Value = serde_json::from_str(&rewritten(options, "zz", true)).unwrap();
        assert_eq!(
            value,
            json!({"stream_options": {"x": 1, "include_usage": true}, "model": "zz", "messages": []})
        );
        let null = r#"{"stream_options":null,"model":"a","messages":[]}"#;
        let read = Request::read(null.as_bytes(), ChatCompletions).unwrap();
        assert!(!read.include_usage && !read.stream);
        assert_eq!(rewritten(null, "a", false), null);
        assert_eq!(
            rewritten(null, "a", true),
            r#"{"stream_options":{"include_usage":true},"model":"a","messages":[]}"#,
            "a second one would be refused"
        );
    }

    #[test]
    fn refusals_name_the_field() {
        let refused = |body: &str| Request::read(body.as_bytes(), ChatCompletions).unwrap_err().to_string();
        for (body, message) in [
            ("", "the body is not valid JSON: EOF"),
            ("[]", "invalid type for 'body': expected an object"),
            ("{}", "you must provide a model parameter"),
            (r#"{"model":null}"#, "you must provide a model parameter"),
            (r#"{"model":7}"#, "invalid type for 'model': expected a string"),
            (r#"{"model":"a"}"#, "you must provide a messages parameter"),
            (
                r#"{"model":"a","messages":{}}"#,
                "invalid type for 'messages': expected an array",
            ),
            (
                r#"{"model":"a","messages":[],"stream":"yes"}"#,
                "invalid type for 'stream': expected a boolean",
            ),
            (
                r#"{"model":"a","messages":[],"stream_options":1}"#,
                "invalid type for 'stream_options': expected an object",
            ),
            (
                r#"{"model":"a","model":"b","messages":[]}"#,
                "the body is not valid JSON: duplicate field `model`",
            ),
            (r#"{"model":"a","messages":[]"#, "the body is not valid JSON: EOF"),
        ] {
            assert!(refused(body).starts_with(message), "{body}: {}", refused(body));
        }
        assert!(matches!(
            Request::read(b"\xff", ChatCompletions),
            Err(BadRequest::Utf8(_))
        ));
        assert!(Request::read(br#"{"model":"e","input":"x"}"#, Embeddings).is_ok());
        assert!(Request::read(br#"{"model":"e","messages":[]}"#, Embeddings).is_err());
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,6}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn only_the_edited_fields_change(extra in prop::collection::btree_map("x_\\PC{0,6}", json_value(), 0..5), model in "\\PC{1,12}", upstream in "\\PC{1,12}") {
            let mut value = json!({"messages": [{"role": "user", "content": "}"}], "stream": true, "model": model});
            for (name, field) in extra {
                value[name] = field;
            }
            let after: Value = serde_json::from_str(&rewritten(&value.to_string(), &upstream, true)).unwrap();
            value["model"] = upstream.into();
            value["stream_options"] = json!({"include_usage": true});
            prop_assert_eq!(after, value);
        }

        #[test]
        fn never_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::read(&body, ChatCompletions);
        }
    }
}
