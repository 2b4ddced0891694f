//! Converts an answer between its two forms, a completion and a stream of chunks, both OpenAI's. It converts only if the result is
//! unambiguous, since servers differ in how they split an answer. Conversion from other vendors' forms stands in `outbound`.

mod chunks_to_completion;
mod tools;

use serde_json::{Map, Value, json};

pub use chunks_to_completion::{chunks_to_completion, chunks_to_completion_lenient};

/// Chunks that are equivalent to a completion, and separately its usage chunk. `None` if it is not a chat completion.
pub fn completion_to_chunks(whole: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
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
mod tests;
