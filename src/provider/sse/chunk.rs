//! OpenAI's answer objects, read for what metering needs. Nothing is copied, and a field of another type than expected
//! means only that there is nothing to read.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::Value;

use super::skim::Skim;
use crate::domain::tokens::TokenUsage;

/// What one answer object, whole or a chunk of a stream, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says something else of the object")]
pub struct ChunkInfo {
    /// The upstream's own count.
    pub usage: Option<TokenUsage>,
    /// The usage chunk at the end of a stream has none.
    pub has_choices: bool,
    /// It is a list with something in it, as an answer with embeddings is.
    pub has_data: bool,
    /// Bytes of generated text: content, reasoning, refusals and arguments of tool calls, as JSON writes them; for estimates.
    pub text_bytes: usize,
    /// A finish reason was given.
    pub finished: bool,
    /// Choices that ended as an answer should: by themselves, at the length asked for, or with calls of tools.
    pub complete: u32,
    /// An error in place of an answer, which some servers send within a stream that began well.
    pub failed: bool,
}

/// Whether this is the marker that ends a stream.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// Reads one answer object. What is not one says nothing.
pub fn scan_chunk(data: &[u8]) -> ChunkInfo {
    skimmed(data).unwrap_or_else(|| parsed(data))
}

/// Reads an object that looks like OpenAI's.
fn skimmed(data: &[u8]) -> Option<ChunkInfo> {
    let mut info = ChunkInfo::default();
    let mut skim = Skim::new(data);
    skim.object(|skim, key| match key {
        b"choices" => skim.array(|skim| {
            info.has_choices = true;
            choice(skim, &mut info)
        }),
        b"usage" => usage(skim, &mut info),
        b"data" => skim.array(|skim| {
            info.has_data = true;
            skim.skip()
        }),
        b"error" => {
            info.failed = !skim.null();
            if info.failed { skim.skip() } else { Some(()) }
        }
        _ => skim.skip(),
    })?;
    skim.is_over().then_some(info)
}

fn choice(skim: &mut Skim<'_>, info: &mut ChunkInfo) -> Option<()> {
    skim.object(|skim, key| match key {
        b"delta" | b"message" => object_or_null(skim, |skim, key| match key {
            b"content" | b"reasoning_content" | b"reasoning" | b"refusal" => text(skim, info),
            b"tool_calls" if !skim.null() => skim.array(|skim| {
                object_or_null(skim, |skim, key| match key {
                    b"function" => object_or_null(skim, |skim, key| match key {
                        b"arguments" => text(skim, info),
                        // Text where OpenAI has none: for the parser, which takes it from anywhere.
                        b"text" | b"function" => None,
                        _ => skim.skip(),
                    }),
                    b"text" | b"arguments" => None,
                    _ => skim.skip(),
                })
            }),
            b"tool_calls" => Some(()),
            _ => skim.skip(),
        }),
        b"finish_reason" if !skim.null() => {
            info.finished = true;
            let reason = skim.string()?;
            info.complete += u32::from(is_complete(reason));
            Some(())
        }
        b"finish_reason" => Some(()),
        _ => skim.skip(),
    })
}

fn is_complete(reason: &[u8]) -> bool {
    matches!(reason, b"stop" | b"length" | b"tool_calls")
}

fn object_or_null(skim: &mut Skim<'_>, field: impl FnMut(&mut Skim<'_>, &[u8]) -> Option<()>) -> Option<()> {
    if skim.null() { Some(()) } else { skim.object(field) }
}

fn text(skim: &mut Skim<'_>, info: &mut ChunkInfo) -> Option<()> {
    if !skim.null() {
        info.text_bytes += skim.string()?.len();
    }
    Some(())
}

fn usage(skim: &mut Skim<'_>, info: &mut ChunkInfo) -> Option<()> {
    let (mut input, mut output) = (None, None);
    object_or_null(skim, |skim, key| {
        let count = match key {
            b"prompt_tokens" => &mut input,
            b"completion_tokens" => &mut output,
            _ => return skim.skip(),
        };
        *count = if skim.null() { None } else { Some(skim.unsigned()?) };
        Some(())
    })?;
    info.usage = token_usage(input, output);
    Some(())
}

fn token_usage(input: Option<u64>, output: Option<u64>) -> Option<TokenUsage> {
    (input.is_some() || output.is_some()).then(|| TokenUsage {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        estimated: false,
    })
}

/// Reads an object in which something has another type than in OpenAI's: the rest of it still counts, above all its
/// usage, which is what is billed.
#[cold]
fn parsed(data: &[u8]) -> ChunkInfo {
    let Ok(object) = serde_json::from_slice::<Value>(data) else {
        return ChunkInfo::default();
    };
    let choices = object["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let usage = &object["usage"];
    ChunkInfo {
        usage: token_usage(count(&usage["prompt_tokens"]), count(&usage["completion_tokens"])),
        has_choices: !choices.is_empty(),
        has_data: object["data"].as_array().is_some_and(|data| !data.is_empty()),
        text_bytes: choices
            .iter()
            .map(|choice| texts(&choice["delta"]) + texts(&choice["message"]))
            .sum(),
        finished: choices.iter().any(|choice| !choice["finish_reason"].is_null()),
        complete: choices.iter().fold(0, |complete, choice| {
            let reason = choice["finish_reason"].as_str().unwrap_or_default();
            complete + u32::from(is_complete(reason.as_bytes()))
        }),
        failed: !object["error"].is_null(),
    }
}

/// Bytes of all texts under the keys that text comes under, in whatever structure.
fn texts(part: &Value) -> usize {
    fn all(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(all).sum(),
            Value::Object(fields) => ["text", "function", "arguments"]
                .iter()
                .filter_map(|key| fields.get(*key))
                .map(all)
                .sum(),
            _ => 0,
        }
    }
    ["content", "reasoning_content", "reasoning", "refusal", "tool_calls"]
        .iter()
        .map(|key| all(&part[*key]))
        .sum()
}

/// Servers in languages without integers write `12.0`.
fn count(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.to_string().strip_suffix(".0")?.parse().ok())
}

/// What a whole answer says of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyUsage {
    Reported(TokenUsage),
    /// Bytes of text, for an estimate.
    Unreported {
        text_bytes: usize,
    },
}

impl BodyUsage {
    pub fn reported(self) -> Option<TokenUsage> {
        match self {
            Self::Reported(usage) => Some(usage),
            Self::Unreported { .. } => None,
        }
    }
}

/// What a whole answer, of chat or embeddings, reports.
pub fn usage_of_body(body: &[u8]) -> BodyUsage {
    if let Some(usage) = usage_at_end(body) {
        return BodyUsage::Reported(usage);
    }
    let info = scan_chunk(body);
    info.usage.map_or(
        BodyUsage::Unreported {
            text_bytes: info.text_bytes,
        },
        BodyUsage::Reported,
    )
}

/// Where usage is looked for first, in bytes: servers report it after the answer.
const END: usize = 1024;
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""usage""#));

/// The usage that an answer ends with, found without reading what is before it. A key is not mistaken for one of another
/// depth: what follows must end the whole object. Nor for a text that has the word in it: there the quotes are escaped.
fn usage_at_end(body: &[u8]) -> Option<TokenUsage> {
    let end = &body[body.len().saturating_sub(END)..];
    let at = USAGE.find(end)?;
    if end[..at].last() == Some(&b'\\') {
        return None;
    }
    let mut info = ChunkInfo::default();
    let mut skim = Skim::new(&end[at..]);
    skim.fields(|skim, key| match key {
        b"usage" => usage(skim, &mut info),
        _ => skim.skip(),
    })?;
    skim.is_over().then_some(info.usage)?
}

/// The text that a chunk adds to its first choice.
pub fn delta_text(data: &[u8]) -> Option<String> {
    first_content(data, |choice| choice.delta)
}

/// The text of a whole answer's first choice.
pub fn answer_text(body: &[u8]) -> Option<String> {
    first_content(body, |choice| choice.message)
}

#[derive(Deserialize)]
struct Contents {
    choices: Vec<ContentChoice>,
}

#[derive(Deserialize)]
struct ContentChoice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Option<Content>,
    #[serde(default)]
    message: Option<Content>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
}

fn first_content(data: &[u8], part: impl Fn(ContentChoice) -> Option<Content>) -> Option<String> {
    let contents: Contents = serde_json::from_slice(data).ok()?;
    let first = contents.choices.into_iter().find(|choice| choice.index == 0)?;
    part(first)?.content.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{BodyUsage, ChunkInfo, answer_text, delta_text, is_done, parsed, scan_chunk, skimmed, usage_of_body};
    use crate::domain::tokens::TokenUsage;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn reads_what_servers_send() {
        let text =
            br#"{"id":"x","choices":[{"index":0,"delta":{"content":"Hi \"you\""},"finish_reason":null}],"usage":null}"#;
        assert_eq!(
            scan_chunk(text),
            ChunkInfo {
                has_choices: true,
                text_bytes: 10,
                ..ChunkInfo::default()
            }
        );
        assert_eq!(delta_text(text).as_deref(), Some("Hi \"you\""));
        let spaced = br#"{ "choices" : [ { "delta" : { "content" : "a" }, "finish_reason" : "stop" } ] }"#;
        let info = scan_chunk(spaced);
        assert!(info.finished && info.text_bytes == 1);
        let usage = br#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,"x":{}}}"#;
        let counted = TokenUsage {
            input: 3,
            output: 5,
            estimated: false,
        };
        assert_eq!(
            scan_chunk(usage),
            ChunkInfo {
                usage: Some(counted),
                ..ChunkInfo::default()
            }
        );
        let tool =
            br#"{"choices":[{"delta":{"content":null,"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}"#;
        assert_eq!(scan_chunk(tool).text_bytes, 2);
        assert_eq!(delta_text(tool), None);
        let whole = br#"{"choices":[{"message":{"role":"assistant","content":"abc"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
        assert_eq!(
            usage_of_body(whole),
            BodyUsage::Reported(TokenUsage {
                input: 1,
                output: 2,
                estimated: false
            })
        );
        assert_eq!(answer_text(whole).as_deref(), Some("abc"));
        let embedding =
            br#"{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#;
        assert_eq!(
            usage_of_body(embedding).reported(),
            Some(TokenUsage {
                input: 4,
                output: 0,
                estimated: false
            })
        );
    }

    #[test]
    fn only_the_answers_own_usage_is_taken_from_its_end() {
        for other in [
            r#"{"x\"usage":{"prompt_tokens":7}}"#,
            r#"{"x":{"usage":{"prompt_tokens":7}}}"#,
            r#"{"x":[{"usage":{"prompt_tokens":7}}]}"#,
            r#"{"x":"usage","prompt_tokens":7}"#,
            r#"{"usage":{"prompt_tokens":7}"#,
        ] {
            assert_eq!(usage_of_body(other.as_bytes()).reported(), None, "{other}");
        }
    }

    #[test]
    fn one_field_of_another_type_does_not_hide_the_rest() {
        let counted = Some(TokenUsage {
            input: 12,
            output: 5,
            estimated: false,
        });
        let floats = br#"{"choices":[],"usage":{"prompt_tokens":12.0,"completion_tokens":5}}"#;
        assert_eq!(scan_chunk(floats).usage, counted);
        assert!(!scan_chunk(floats).has_choices);
        let parts =
            br#"{"choices":[{"delta":{"content":[{"type":"text","text":"abc"}],"tool_calls":{}},"finish_reason":null}],
                         "usage":{"prompt_tokens":12,"completion_tokens":5}}"#;
        let info = scan_chunk(parts);
        assert_eq!(
            (info.usage, info.has_choices, info.text_bytes, info.finished),
            (counted, true, 3, false)
        );
        for negative in ["-1", "1.5", "1e400", "\"7\"", "null"] {
            let usage = format!("{{\"choices\":[],\"usage\":{{\"prompt_tokens\":{negative}}}}}");
            assert_eq!(scan_chunk(usage.as_bytes()), ChunkInfo::default(), "{negative}");
        }
    }

    #[test]
    fn an_error_within_a_stream_is_noticed() {
        assert!(scan_chunk(br#"{"error":{"message":"out of memory","code":500}}"#).failed);
        assert!(scan_chunk(br#"{"error" : "overloaded", "choices": 7}"#).failed);
        assert!(!scan_chunk(br#"{"error":null,"choices":[]}"#).failed);
    }

    #[test]
    fn what_servers_commonly_send_is_not_parsed() {
        for usual in [
            r#"{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}"#,
            r#"{ "id": "x", "choices": [ { "delta": { "content": "say \"hi\" \\" }, "finish_reason": "stop" } ] }"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{"}}]}}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":0}}}"#,
            r#"{"object":"list","data":[{"embedding":[0.1,-2e-3],"index":0}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#,
            r#"{"error":{"message":"overloaded"}}"#,
        ] {
            let found = skimmed(usual.as_bytes());
            assert!(found.is_some(), "{usual}");
            if !usual.contains('\\') {
                assert_eq!(found, Some(parsed(usual.as_bytes())), "{usual}");
            }
        }
    }

    #[test]
    fn text_of_a_call_counts_wherever_it_stands() {
        for call in [
            r#"{"arguments":"abc"}"#,
            r#"{"text":"abc"}"#,
            r#"{"function":{"text":"abc"}}"#,
            r#"{"function":{"function":{"arguments":"abc"}}}"#,
        ] {
            let chunk = format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{call}]}}}}]}}"#);
            assert_eq!(scan_chunk(chunk.as_bytes()).text_bytes, 3, "{call}");
        }
    }

    #[test]
    fn strange_answers_say_nothing() {
        for strange in [
            &b"[DONE]"[..],
            b"",
            b"{}",
            b"[1]",
            b"{\"choices\":null}",
            b"{\"choices\":7}",
            b"{\"usage\":\"x\"}",
        ] {
            assert_eq!(
                scan_chunk(strange),
                ChunkInfo::default(),
                "{}",
                String::from_utf8_lossy(strange)
            );
        }
        assert!(is_done(b"[DONE]") && is_done(b" [DONE] ") && !is_done(b"{}"));
    }

    /// Any JSON, with the keys that are read and others.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z ,:\\[\\]{}]{0,8}".prop_map(Value::from),
        ];
        let keys = "choices|usage|error|delta|message|content|reasoning|refusal|tool_calls|function|arguments|\
                    finish_reason|prompt_tokens|completion_tokens|text|[a-z]{0,3}";
        leaf.prop_recursive(8, 64, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(keys, inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// An answer as it should be, but for a value here and there.
    fn answer() -> impl Strategy<Value = Value> {
        let text = || prop_oneof![4 => "[a-z ,:]{0,8}".prop_map(Value::from), 1 => Just(Value::Null), 1 => json()];
        let count = || prop_oneof![4 => any::<u64>().prop_map(Value::from), 1 => json()];
        let calls = text().prop_map(|text| json!([{"index": 0, "function": {"name": "f", "arguments": text}}]));
        let calls = prop_oneof![2 => Just(Value::Null), 2 => calls, 1 => json()];
        let part = (text(), text(), calls)
            .prop_map(|(text, refusal, calls)| json!({"content": text, "refusal": refusal, "tool_calls": calls}));
        let part = prop_oneof![8 => part, 1 => json()];
        let choice = (
            part,
            prop_oneof![2 => Just(Value::Null), 1 => Just("stop".into()), 1 => json()],
            any::<bool>(),
        );
        let choice = choice.prop_map(|(part, finish, delta)| {
            json!({"index": 0, if delta { "delta" } else { "message" }: part, "logprobs": null, "finish_reason": finish})
        });
        let choices = prop_oneof![8 => prop::collection::vec(choice, 0..3).prop_map(Value::from), 1 => json()];
        let usage = (count(), count())
            .prop_map(|(input, output)| json!({"prompt_tokens": input, "completion_tokens": output, "details": {}}));
        let usage = prop_oneof![2 => Just(Value::Null), 4 => usage, 1 => json()];
        let error = prop_oneof![8 => Just(Value::Null), 1 => json()];
        (choices, usage, error).prop_map(
            |(choices, usage, error)| json!({"id": "chatcmpl-1", "choices": choices, "usage": usage, "error": error}),
        )
    }

    proptest! {
        #[test]
        fn skimming_finds_what_parsing_finds(value in prop_oneof![answer(), json()], pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            if let Some(info) = skimmed(text.as_bytes()) {
                prop_assert_eq!(info, parsed(text.as_bytes()), "{}", text);
            }
        }

        #[test]
        fn the_usage_at_the_end_is_that_of_the_whole(
            value in prop_oneof![answer(), json()],
            pretty in any::<bool>(),
            text in "([a-z]|\\\\|\\\"|usage|\"usage\"|:|\\{\"prompt_tokens\":7\\}|,){0,12}",
        ) {
            let mut value = value;
            if let Some(fields) = value.as_object_mut() {
                fields.insert("z".to_owned(), text.clone().into());
                fields.insert(text, json!({"prompt_tokens": 1, "usage": {"prompt_tokens": 2}}));
            }
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            prop_assert_eq!(usage_of_body(text.as_bytes()).reported(), scan_chunk(text.as_bytes()).usage, "{}", text);
        }

        #[test]
        fn a_text_that_is_cut_says_nothing(value in answer(), cut in any::<prop::sample::Index>()) {
            let text = value.to_string();
            let cut = cut.index(text.len());
            prop_assert_eq!(scan_chunk(&text.as_bytes()[..cut]), ChunkInfo::default());
        }

        #[test]
        fn never_panics(data in prop::collection::vec(prop_oneof![prop::sample::select(&b"{}[]\",:\\ n1-"[..]), any::<u8>()], 0..120)) {
            let _ = (scan_chunk(&data), delta_text(&data), answer_text(&data));
        }

        #[test]
        fn text_survives(text in "\\PC{0,40}") {
            let chunk = serde_json::json!({"choices": [{"delta": {"content": text}}]}).to_string();
            prop_assert_eq!(delta_text(chunk.as_bytes()).unwrap_or_default(), text);
        }
    }
}
