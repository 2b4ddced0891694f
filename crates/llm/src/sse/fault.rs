//! Errors in shapes that OpenAI's clients do not know, made into the one that they do.

use serde_json::{Map, Value};

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

/// The words under any of the names that servers have for them, else all as it is written.
fn message_of(error: &Value) -> String {
    let words = |name: &str| error.get(name).and_then(Value::as_str);
    let named = ["error", "detail"].into_iter().find_map(words);
    named.map_or_else(|| error.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::with_message;
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
}
