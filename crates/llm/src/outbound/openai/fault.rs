//! Errors in shapes that OpenAI's clients do not know, made into the one that they do.

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The object that says what is wrong, with a `message` that is a text: clients show that, and nothing else. Without one there
/// it is whatever there is.
pub fn with_message(error: Value) -> Value {
    let text = message_of(&error);
    let mut fields = match error {
        Value::Object(mut fields) => match fields.remove("error") {
            Some(Value::Object(error)) => error,
            _ => fields,
        },
        Value::Array(mut error) if error.len() == 1 => {
            match error.pop().and_then(|mut one| one.get_mut("error").map(Value::take)) {
                Some(Value::Object(error)) => error,
                _ => Map::new(),
            }
        }
        _ => Map::new(),
    };
    if !fields.get("message").is_some_and(Value::is_string) {
        fields.insert("message".to_owned(), text.into());
    }
    fields.into()
}

/// The body of a refusal, with an `error` that is an object, as OpenAI's clients look for it: of a list of details (FastAPI), a message
/// alone (vLLM) or an error in a list (Gemini) they show nothing else but the status.
pub fn refusal(body: &[u8]) -> Bytes {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) if !value["error"].is_object() => Bytes::from(json!({"error": with_message(value)}).to_string()),
        _ => Bytes::copy_from_slice(body),
    }
}

/// The words under any of the names that servers have for them, else all as it is written.
fn message_of(error: &Value) -> String {
    let words = |name: &str| error.get(name).and_then(Value::as_str);
    let named = ["error", "detail"].into_iter().find_map(words);
    named.map_or_else(|| error.to_string(), str::to_owned)
}

/// An error event in the shape that OpenAI's clients raise; some servers send other shapes. The message stays.
pub fn error_event(data: &[u8]) -> Bytes {
    let error = match serde_json::from_slice::<Value>(data) {
        Ok(object) if object.get("error").is_some_and(|error| !error.is_null()) => {
            return [b"data: ", data, b"\n\n"].concat().into();
        }
        Ok(object) => {
            // Where it is not the object itself, it is in the choice.
            let nested = object.pointer("/choices/0/error").filter(|error| !error.is_null());
            with_message(nested.unwrap_or(&object).clone())
        }
        Err(_) => {
            // Half of a chunk is nothing to be told in words.
            let is_half = data.trim_ascii_start().starts_with(b"{");
            let message = if is_half {
                "the provider sent an event that is not JSON".into()
            } else {
                String::from_utf8_lossy(data)
            };
            json!({"message": message, "type": "server_error", "param": null, "code": "provider_error"})
        }
    };
    format!("data: {{\"error\":{error}}}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::{error_event, with_message};
    use serde_json::{Value, json};

    #[test]
    fn words_in_any_shape_become_the_message() {
        let detail = json!([{"loc": ["body", "temperature"], "msg": "too high"}]);
        for (error, expected) in [
            (json!({"message": "x", "code": 5}), json!({"message": "x", "code": 5})),
            (json!({"detail": "x"}), json!({"detail": "x", "message": "x"})),
            (json!({"error": "x", "code": 5}), json!({"code": 5, "message": "x"})),
            (
                json!([{"error": {"message": "x", "code": 400}}]),
                json!({"message": "x", "code": 400}),
            ),
            (json!("x"), json!({"message": "\"x\""})),
        ] {
            assert_eq!(with_message(error), expected);
        }
        for error in [
            json!({"detail": detail}),
            json!([detail]),
            json!({"message": {"text": "too high"}}),
        ] {
            let error = with_message(error);
            assert!(
                error["message"].as_str().is_some_and(|text| text.contains("too high")),
                "{error}"
            );
        }
        assert_eq!(with_message(Value::Null), json!({"message": "null"}));
    }

    #[test]
    fn errors_in_any_shape_become_one_that_clients_raise() {
        for (data, expected) in [
            (
                r#"{"error":{"message":"x"},"y":1}"#,
                r#"{"error":{"message":"x"},"y":1}"#,
            ),
            (
                r#"{"message":"x","code":500}"#,
                r#"{"error":{"message":"x","code":500}}"#,
            ),
            (
                r#"{"choices":[{"error":{"code":502}}]}"#,
                r#"{"error":{"code":502,"message":"{\"code\":502}"}}"#,
            ),
            (r#"{"detail":"x"}"#, r#"{"error":{"detail":"x","message":"x"}}"#),
            (
                "out of memory",
                r#"{"error":{"message":"out of memory","type":"server_error","param":null,"code":"provider_error"}}"#,
            ),
            (
                r#"{"choices":[{"del"#,
                r#"{"error":{"message":"the provider sent an event that is not JSON","type":"server_error","param":null,"code":"provider_error"}}"#,
            ),
        ] {
            let error_event = error_event(data.as_bytes());
            let error_event = std::str::from_utf8(&error_event).unwrap();
            let error_event: Value = serde_json::from_str(error_event.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(error_event, serde_json::from_str::<Value>(expected).unwrap());
        }
    }
}
