//! A stream's chunks, put together.

use serde_json::{Map, Value};

use super::tools::{ToolCalls, name_of};
use crate::sse;

/// Texts that come in pieces.
const PIECEWISE: [&str; 4] = ["content", "reasoning_content", "reasoning", "refusal"];

/// Puts a stream's chunks together. `None` if they are not chunks of an answer, or if it is not clear what they make.
pub fn chunks_to_completion(events: &[u8], usage: &[u8]) -> Option<Vec<u8>> {
    put_together(events, usage, |data| serde_json::from_slice(data).ok())
}

/// The same, where there is nothing else to be had: what is no text has U+FFFD in its place.
pub fn chunks_to_completion_lenient(events: &[u8]) -> Option<Vec<u8>> {
    put_together(events, b"", |data| {
        let strict = serde_json::from_slice(data).ok();
        strict.or_else(|| serde_json::from_str(&with_whole_pairs(&String::from_utf8_lossy(data))).ok())
    })
}

/// Halves of surrogate pairs without the other half are replaced: servers that cut their text between UTF-16 units escape them so.
fn with_whole_pairs(json: &str) -> String {
    const LENGTH: usize = "\\u0000".len();
    let unit = |at: usize| {
        let digits = json.get(at..at + LENGTH)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut whole = String::with_capacity(json.len());
    let mut from = 0;
    while let Some(found) = json[from..].find('\\') {
        let at = from + found;
        whole.push_str(&json[from..at]);
        let (length, is_half) = match unit(at) {
            Some(0xD800..0xDC00) if matches!(unit(at + LENGTH), Some(0xDC00..0xE000)) => (2 * LENGTH, false),
            Some(0xD800..0xE000) => (LENGTH, true),
            // The next is taken with it: it may be another backslash.
            _ => (1 + json[at + 1..].chars().next().map_or(0, char::len_utf8), false),
        };
        whole.push_str(if is_half { "\\ufffd" } else { &json[at..at + length] });
        from = at + length;
    }
    whole.push_str(&json[from..]);
    whole
}

fn put_together(events: &[u8], usage: &[u8], parse: impl Fn(&[u8]) -> Option<Value>) -> Option<Vec<u8>> {
    let mut whole: Option<Map<String, Value>> = None;
    let mut choices: Vec<Choice> = Vec::new();
    for event in sse::events(events).chain(sse::events(usage)) {
        if event.data().is_empty() || sse::is_done(event.data()) {
            continue;
        }
        let Some(Value::Object(mut chunk)) = parse(event.data()) else {
            return None;
        };
        if let Some(Value::Array(parts)) = chunk.remove("choices") {
            for part in parts {
                let Value::Object(part) = part else { return None };
                add_choice(&mut choices, part)?;
            }
        }
        match &mut whole {
            None => whole = Some(chunk),
            Some(whole) => replace(whole, chunk),
        }
    }
    let mut whole = whole?;
    whole.insert("object".to_owned(), "chat.completion".into());
    choices.sort_by_key(|choice| choice.index);
    let choices: Option<Vec<Value>> = choices.into_iter().map(Choice::finished).collect();
    whole.insert("choices".to_owned(), choices?.into());
    serde_json::to_vec(&whole).ok()
}

/// One choice, as far as it has come.
#[derive(Default)]
struct Choice {
    index: u64,
    message: Map<String, Value>,
    calls: ToolCalls,
    /// What stands beside the message.
    rest: Map<String, Value>,
}

/// Some servers give no number, or write it as a text: then it is the first.
fn index_of(part: &Map<String, Value>) -> Option<u64> {
    match part.get("index") {
        None | Some(Value::Null) => Some(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(index) => index.as_u64(),
    }
}

fn add_choice(choices: &mut Vec<Choice>, mut part: Map<String, Value>) -> Option<()> {
    let index = index_of(&part)?;
    part.remove("index");
    let delta = part.remove("delta");
    // All of the text so far, which some servers send beside each piece of it.
    part.remove("message");
    let place = choices.iter().position(|choice| choice.index == index);
    let place = place.unwrap_or_else(|| {
        choices.push(Choice {
            index,
            ..Choice::default()
        });
        choices.len() - 1
    });
    let choice = choices.get_mut(place)?;
    match delta {
        Some(Value::Object(delta)) => choice.add(delta)?,
        None | Some(Value::Null) => {}
        Some(_) => return None,
    }
    if let Some(logprobs) = part.remove("logprobs") {
        extend(&mut choice.rest, "logprobs", logprobs)?;
    }
    replace(&mut choice.rest, part);
    Some(())
}

/// What is said later holds, unless it is nothing.
fn replace(merged: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        if !is_nothing(&value) || !merged.contains_key(&name) {
            merged.insert(name, value);
        }
    }
}

/// Some servers write an empty text for `null`, as Azure does in chunks of its content filter.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// Lists that grow, in an object.
fn extend(merged: &mut Map<String, Value>, name: &str, more: Value) -> Option<()> {
    match (merged.get_mut(name), more) {
        (Some(Value::Object(lists)), Value::Object(more)) => {
            for (name, more) in more {
                match (lists.get_mut(&name), more) {
                    (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
                    (Some(merged), Value::Null) if !merged.is_null() => {}
                    (_, more) => {
                        lists.insert(name, more);
                    }
                }
            }
        }
        (Some(merged), Value::Null) if !merged.is_null() => {}
        (None | Some(Value::Null), more) => {
            merged.insert(name.to_owned(), more);
        }
        _ => return None,
    }
    Some(())
}

impl Choice {
    fn add(&mut self, delta: Map<String, Value>) -> Option<()> {
        for (name, value) in delta {
            match name.as_str() {
                "tool_calls" => self.calls.add(value)?,
                name if PIECEWISE.contains(&name) => self.append(name, value)?,
                "function_call" => self.call_function(value)?,
                _ => self.set(name, value)?,
            }
        }
        Some(())
    }

    /// A text grows; a list of parts, or both in turns, is not put together.
    fn append(&mut self, name: &str, more: Value) -> Option<()> {
        match (self.message.get_mut(name), more) {
            (Some(Value::String(text)), Value::String(piece)) => text.push_str(&piece),
            (Some(Value::String(_)), Value::Null) => {}
            (None | Some(Value::Null), more @ (Value::String(_) | Value::Null)) => {
                self.message.insert(name.to_owned(), more);
            }
            _ => return None,
        }
        Some(())
    }

    /// OpenAI's older form of a call.
    fn call_function(&mut self, more: Value) -> Option<()> {
        let Value::Object(more) = more else {
            return more.is_null().then_some(());
        };
        let merged = self.message.entry("function_call").or_insert_with(|| Map::new().into());
        let merged = merged.as_object_mut()?;
        for (name, value) in more {
            match (merged.get_mut(&name), value) {
                (Some(Value::String(text)), Value::String(piece)) if name == "arguments" => text.push_str(&piece),
                (Some(Value::String(text)), Value::String(piece)) if name == "name" => {
                    *text = name_of(text, &piece, false)?;
                }
                (None | Some(Value::Null), value) => {
                    merged.insert(name, value);
                }
                (Some(_), Value::Null) => {}
                _ => return None,
            }
        }
        Some(())
    }

    /// What does not come in pieces: the same again, or nothing, changes nothing. Anything else may be a piece all the same.
    fn set(&mut self, name: String, value: Value) -> Option<()> {
        match self.message.get(&name) {
            Some(merged) if *merged == value || is_nothing(&value) => {}
            Some(merged) if !is_nothing(merged) => return None,
            _ => {
                self.message.insert(name, value);
            }
        }
        Some(())
    }

    fn finished(self) -> Option<Value> {
        let Self {
            index,
            mut message,
            calls,
            mut rest,
        } = self;
        message.entry("role").or_insert_with(|| "assistant".into());
        message.entry("content").or_insert(Value::Null);
        // The last call of an answer that was cut off is cut off as well.
        let is_cut = rest.get("finish_reason").and_then(Value::as_str) == Some("length");
        let calls = calls.finished(is_cut)?;
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), calls.into());
        }
        rest.insert("index".to_owned(), index.into());
        rest.insert("message".to_owned(), message.into());
        rest.entry("finish_reason").or_insert(Value::Null);
        Some(rest.into())
    }
}
