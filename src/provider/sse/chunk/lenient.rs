//! Objects that are not quite OpenAI's, parsed whole.

use serde_json::Value;

use super::{ChunkInfo, is_complete, token_usage};

/// Reads an object in which something has another type than in OpenAI's: the rest of it still counts, above all its
/// usage, which is what is billed.
#[cold]
pub(super) fn parsed(data: &[u8]) -> ChunkInfo {
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
