//! OpenAI's answer objects, read for what metering needs. Nothing is copied, and a field of another type than expected
//! means only that there is nothing to read.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::domain::tokens::TokenUsage;

/// What one answer object, whole or a chunk of a stream, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChunkInfo {
    /// The upstream's own count.
    pub usage: Option<TokenUsage>,
    /// The usage chunk at the end of a stream has none.
    pub has_choices: bool,
    /// Bytes of generated text: content, reasoning, refusals and arguments of tool calls, as JSON writes them.
    pub text_bytes: usize,
    /// A finish reason was given.
    pub finished: bool,
}

#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    choices: Choices,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
}

/// All choices, summed up as they are read.
#[derive(Default)]
struct Choices {
    count: usize,
    text_bytes: usize,
    finished: bool,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
    #[serde(default)]
    finish_reason: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Text<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// Length of a JSON string without its quotes; 0 for null and other types.
fn string_bytes(raw: Option<&RawValue>) -> usize {
    raw.map(RawValue::get)
        .filter(|raw| raw.starts_with('"'))
        .map_or(0, |raw| raw.len() - 2)
}

impl Text<'_> {
    fn bytes(&self) -> usize {
        let arguments = self
            .tool_calls
            .iter()
            .flatten()
            .filter_map(|call| call.function.as_ref());
        string_bytes(self.content)
            + string_bytes(self.reasoning_content)
            + string_bytes(self.reasoning)
            + string_bytes(self.refusal)
            + arguments
                .map(|function| string_bytes(function.arguments))
                .sum::<usize>()
    }
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sum;

        impl<'de> Visitor<'de> for Sum {
            type Value = Choices;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of choices")
            }

            fn visit_unit<E>(self) -> Result<Choices, E> {
                Ok(Choices::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut choices: A) -> Result<Choices, A::Error> {
                let mut sum = Choices::default();
                while let Some(choice) = choices.next_element::<Choice<'de>>()? {
                    sum.count += 1;
                    sum.text_bytes += choice
                        .delta
                        .iter()
                        .chain(&choice.message)
                        .map(Text::bytes)
                        .sum::<usize>();
                    sum.finished |= choice.finish_reason.is_some();
                }
                Ok(sum)
            }
        }

        deserializer.deserialize_any(Sum)
    }
}

/// Whether this is the marker that ends a stream.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// Reads one answer object. What is not one says nothing.
pub fn scan_chunk(data: &[u8]) -> ChunkInfo {
    let Ok(answer) = serde_json::from_slice::<Answer>(data) else {
        return ChunkInfo::default();
    };
    let usage = answer
        .usage
        .filter(|usage| usage.prompt_tokens.is_some() || usage.completion_tokens.is_some());
    ChunkInfo {
        usage: usage.map(|usage| TokenUsage {
            input: usage.prompt_tokens.unwrap_or(0),
            output: usage.completion_tokens.unwrap_or(0),
            estimated: false,
        }),
        has_choices: answer.choices.count > 0,
        text_bytes: answer.choices.text_bytes,
        finished: answer.choices.finished,
    }
}

/// What a whole answer, of chat or embeddings, reports and how many bytes of text it has.
pub fn usage_of_body(body: &[u8]) -> (Option<TokenUsage>, usize) {
    let info = scan_chunk(body);
    (info.usage, info.text_bytes)
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
    use super::{ChunkInfo, answer_text, delta_text, is_done, scan_chunk, usage_of_body};
    use crate::domain::tokens::TokenUsage;
    use proptest::prelude::*;

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
            (
                Some(TokenUsage {
                    input: 1,
                    output: 2,
                    estimated: false
                }),
                3
            )
        );
        assert_eq!(answer_text(whole).as_deref(), Some("abc"));
        let embedding =
            br#"{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#;
        assert_eq!(
            usage_of_body(embedding).0,
            Some(TokenUsage {
                input: 4,
                output: 0,
                estimated: false
            })
        );
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

    proptest! {
        #[test]
        fn never_panics(data in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = (scan_chunk(&data), delta_text(&data), answer_text(&data));
        }

        #[test]
        fn text_survives(text in "\\PC{0,40}") {
            let chunk = serde_json::json!({"choices": [{"delta": {"content": text}}]}).to_string();
            prop_assert_eq!(delta_text(chunk.as_bytes()).unwrap_or_default(), text);
        }
    }
}
