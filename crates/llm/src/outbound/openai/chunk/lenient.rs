//! Objects that are not quite OpenAI's, parsed whole.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::{ChunkInfo, Part, Signs, usage::Counts};

/// Reads an object in which something has another type than in OpenAI's: the rest of it still counts, above all its
/// usage, which is what is billed.
#[cold]
pub(super) fn parsed(data: &[u8]) -> ChunkInfo {
    let Ok(object) = serde_json::from_slice::<Value>(data) else {
        return ChunkInfo {
            is_malformed: is_malformed(data),
            ..ChunkInfo::default()
        };
    };
    let choices = object["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut info = ChunkInfo {
        has_choices: !choices.is_empty(),
        has_data: object["data"].as_array().is_some_and(|data| !data.is_empty()),
        ..ChunkInfo::default()
    };
    let is_error = |value: &Value| value.as_str() == Some("error");
    let mut signs = Signs {
        is_error: !is_blank(&object["error"])
            || choices.iter().any(|choice| !is_blank(&choice["error"]))
            || is_error(&object["object"])
            || is_error(&object["type"]),
        has_choices_field: object.get("choices").is_some(),
        has_detail: !is_blank(&object["detail"]) || !is_blank(&object["message"]),
        within_choices: None,
        of_object: Counts::parsed(&object["usage"]).reported(),
    };
    for choice in choices {
        info.add(part(&choice["delta"]), part(&choice["message"]));
        info.finished += u32::from(!is_blank(&choice["finish_reason"]));
        info.add_reason(choice["finish_reason"].as_str().unwrap_or_default().as_bytes());
        if choice.get("usage").is_some() {
            signs.within_choices = Counts::parsed(&choice["usage"]).reported();
        }
    }
    signs.conclude(&mut info);
    info
}

/// Words, or the beginning of an object. Python's `NaN` and halves of a surrogate pair are no JSON either, but nothing that every
/// client stumbles over: they are left to it.
fn is_malformed(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    !data.is_empty()
        && serde_json::from_slice::<IgnoredAny>(data).is_err_and(|error| error.is_eof() || !data.starts_with(b"{"))
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn part(part: &Value) -> Option<Part> {
    if part.is_null() {
        return None;
    }
    let is_said = |key: &str| has_words(&part[key]);
    let has_calls = part["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
    Some(Part {
        text_bytes: texts(part),
        has_substance: is_said("content") || is_said("refusal") || has_calls || !is_blank(&part["function_call"]),
    })
}

/// More than white space, as a text or as the text of one of several parts.
fn has_words(value: &Value) -> bool {
    match value {
        Value::String(text) => text.chars().any(|letter| !matches!(letter, ' ' | '\n' | '\t' | '\r')),
        Value::Array(values) => values.iter().any(has_words),
        Value::Object(fields) => fields.get("text").is_some_and(has_words),
        _ => false,
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
