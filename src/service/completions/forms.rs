//! The two forms of one answer: whole, and as a stream of chunks. An answer that came in one can be given in the other.

use serde_json::{Map, Value, json};

use crate::provider::sse;

/// Texts that come in pieces. Everything else in a chunk replaces what an earlier one said.
const PIECEWISE: [&str; 5] = ["content", "reasoning_content", "reasoning", "refusal", "arguments"];

/// Puts a stream's chunks together. `None` if they are not chunks of an answer.
pub(super) fn assemble(events: &[u8], usage: &[u8]) -> Option<Vec<u8>> {
    let mut whole: Option<Map<String, Value>> = None;
    let mut choices: Vec<Map<String, Value>> = Vec::new();
    for event in sse::events(events).chain(sse::events(usage)) {
        if event.data().is_empty() || sse::is_done(event.data()) {
            continue;
        }
        let Ok(Value::Object(mut chunk)) = serde_json::from_slice(event.data()) else {
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
            Some(whole) => {
                for (name, value) in chunk {
                    if !value.is_null() {
                        whole.insert(name, value);
                    }
                }
            }
        }
    }
    let mut whole = whole?;
    whole.insert("object".to_owned(), "chat.completion".into());
    choices.sort_by_key(|choice| choice.get("index").and_then(Value::as_u64));
    whole.insert("choices".to_owned(), choices.into_iter().map(finished).collect());
    serde_json::to_vec(&whole).ok()
}

fn add_choice(choices: &mut Vec<Map<String, Value>>, mut part: Map<String, Value>) -> Option<()> {
    let index = part.get("index").and_then(Value::as_u64).unwrap_or(0);
    let delta = match part.remove("delta") {
        Some(Value::Object(delta)) => delta,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return None,
    };
    let found = choices
        .iter()
        .position(|choice| choice.get("index").and_then(Value::as_u64) == Some(index));
    let place = found.unwrap_or_else(|| {
        choices.push(Map::from_iter([
            ("index".to_owned(), index.into()),
            ("message".to_owned(), Value::Object(Map::new())),
        ]));
        choices.len() - 1
    });
    let choice = choices.get_mut(place)?;
    if let Some(Value::Object(message)) = choice.get_mut("message") {
        merge(message, delta);
    }
    for (name, value) in part {
        match (choice.get_mut(&name), value) {
            (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
            (Some(_), Value::Null) => {}
            (_, value) => {
                choice.insert(name, value);
            }
        }
    }
    Some(())
}

fn merge(known: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        match (known.get_mut(&name), value) {
            (Some(Value::String(text)), Value::String(piece)) if PIECEWISE.contains(&name.as_str()) => {
                text.push_str(&piece);
            }
            (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
            (Some(Value::Array(known)), Value::Array(more)) => append(known, more),
            (Some(_), Value::Null) => {}
            (_, value) => {
                known.insert(name, value);
            }
        }
    }
}

/// Parts of calls of tools say by their index which call they belong to; other lists just grow.
fn append(known: &mut Vec<Value>, more: Vec<Value>) {
    for value in more {
        let index = value.get("index").cloned();
        let same = index.and_then(|index| known.iter_mut().find(|known| known.get("index") == Some(&index)));
        match (same, value) {
            (Some(Value::Object(known)), Value::Object(value)) => merge(known, value),
            (_, value) => known.push(value),
        }
    }
}

fn finished(mut choice: Map<String, Value>) -> Value {
    if let Some(Value::Object(message)) = choice.get_mut("message") {
        message.entry("role").or_insert_with(|| "assistant".into());
        message.entry("content").or_insert(Value::Null);
        if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
            for call in calls.iter_mut().filter_map(Value::as_object_mut) {
                call.remove("index");
            }
        }
    }
    choice.entry("finish_reason").or_insert(Value::Null);
    Value::Object(choice)
}

/// The chunks that an answer could have come in, and apart from them its usage chunk. `None` if it is no chat answer.
pub(super) fn disassemble(whole: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let Ok(Value::Object(mut base)) = serde_json::from_slice(whole) else {
        return None;
    };
    let Some(Value::Array(choices)) = base.remove("choices") else {
        return None;
    };
    let usage = base.remove("usage").filter(|usage| !usage.is_null());
    base.insert("object".to_owned(), "chat.completion.chunk".into());
    let (mut events, mut ends) = (Vec::new(), Vec::new());
    for choice in choices {
        let Value::Object(mut choice) = choice else { return None };
        let index = choice.get("index").cloned().unwrap_or_else(|| 0.into());
        let Some(Value::Object(mut delta)) = choice.remove("message") else {
            return None;
        };
        if let Some(Value::Array(calls)) = delta.get_mut("tool_calls") {
            for (number, call) in calls.iter_mut().filter_map(Value::as_object_mut).enumerate() {
                call.entry("index").or_insert_with(|| number.into());
            }
        }
        let reason = choice
            .insert("finish_reason".to_owned(), Value::Null)
            .unwrap_or(Value::Null);
        choice.insert("delta".to_owned(), Value::Object(delta));
        push(&mut events, &base, json!([choice]));
        push(
            &mut ends,
            &base,
            json!([{"index": index, "delta": {}, "finish_reason": reason}]),
        );
    }
    events.append(&mut ends);
    let mut last = Vec::new();
    if let Some(usage) = usage {
        base.insert("usage".to_owned(), usage);
        push(&mut last, &base, json!([]));
    }
    Some((events, last))
}

fn push(events: &mut Vec<u8>, base: &Map<String, Value>, choices: Value) {
    let mut chunk = base.clone();
    chunk.insert("choices".to_owned(), choices);
    events.extend_from_slice(b"data: ");
    events.extend_from_slice(Value::Object(chunk).to_string().as_bytes());
    events.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::{assemble, disassemble};
    use serde_json::{Value, json};

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn chunks_become_one_answer() {
        let events = concat!(
            r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            "\n\n",
            r#"data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"Hel"},"logprobs":{"content":[{"token":"Hel"}]},"finish_reason":null},{"index":1,"delta":{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":"{\"a\""}}]}}]}"#,
            "\n\n",
            r#"data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"lo"},"logprobs":{"content":[{"token":"lo"}]},"finish_reason":null},{"index":1,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}}]}"#,
            "\n\n",
            r#"data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"},{"index":1,"delta":{},"finish_reason":"tool_calls"}]}"#,
            "\n\n",
        );
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3}}\n\n";
        assert_eq!(
            parsed(&assemble(events.as_bytes(), usage.as_bytes()).unwrap()),
            json!({
                "id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": {"prompt_tokens": 3},
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop",
                     "logprobs": {"content": [{"token": "Hel"}, {"token": "lo"}]}},
                    {"index": 1, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null,
                     "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}},
                ],
            })
        );
    }

    #[test]
    fn an_answer_survives_both_ways() {
        let whole = json!({
            "id": "c", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "fp",
            "usage": {"prompt_tokens": 3, "completion_tokens": 5},
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": null}, "logprobs": null, "finish_reason": "length"},
                {"index": 1, "message": {"role": "assistant", "content": null,
                 "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "tool_calls"},
            ],
        });
        let (events, usage) = disassemble(whole.to_string().as_bytes()).unwrap();
        let text = String::from_utf8(events.clone()).unwrap();
        assert!(
            text.contains("chat.completion.chunk") && !text.contains("prompt_tokens"),
            "{text}"
        );
        assert_eq!(parsed(&assemble(&events, &usage).unwrap()), whole);
    }

    #[test]
    fn what_is_no_answer_has_no_other_form() {
        assert!(disassemble(b"{}").is_none());
        assert!(disassemble(b"nonsense").is_none());
        assert!(assemble(b"", b"").is_none());
        assert!(assemble(b"data: nonsense\n\n", b"").is_none());
    }
}
