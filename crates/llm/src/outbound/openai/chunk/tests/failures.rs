//! What says that there is no answer.

use serde_json::json;

use super::super::{parsed, scan_chunk};

#[test]
fn an_answer_without_substance_is_told_from_one_with_some() {
    for (message, has) in [
        (json!({"content": ""}), false),
        (json!({"content": null}), false),
        (json!({"content": " \n\t "}), false),
        (json!({"content": [{"type": "text", "text": " "}]}), false),
        (json!({"content": null, "reasoning_content": "Let me see"}), false),
        (json!({"content": null, "tool_calls": []}), false),
        (json!({"content": "\n."}), true),
        (json!({"content": [{"type": "text", "text": "a"}]}), true),
        (json!({"refusal": "No."}), true),
        (
            json!({"content": null, "tool_calls": [{"function": {"name": "now", "arguments": ""}}]}),
            true,
        ),
        (json!({"content": null, "function_call": {"name": "now"}}), true),
    ] {
        let answer = json!({"choices": [{"message": message, "finish_reason": "stop"}]}).to_string();
        assert_eq!(scan_chunk(answer.as_bytes()).has_substance, has, "{answer}");
        assert_eq!(parsed(answer.as_bytes()).has_substance, has, "{answer}");
    }
}

#[test]
fn errors_are_noticed_in_whatever_shape() {
    for error in [
        r#"{"object":"error","message":"out of memory","code":400}"#,
        r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
        r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error","error":{"code":502}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"error":{"code":502}}]}"#,
        r#"{"detail":"out of memory"}"#,
        r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#,
        r#"{"message":"out of memory","code":500}"#,
        r#"{"error":true}"#,
        r#"{"error":{"message":"x"},"choices":[{"delta":{"content":[7]}}]}"#,
    ] {
        assert!(
            scan_chunk(error.as_bytes()).failed && parsed(error.as_bytes()).failed,
            "{error}"
        );
    }
    for none in [
        r#"{"error":"","choices":[{"delta":{"content":"a"}}]}"#,
        r#"{"error":{},"choices":[]}"#,
        r#"{"error":[ ],"choices":[]}"#,
        r#"{"error":false,"choices":[]}"#,
        r#"{"error":0,"choices":[]}"#,
        r#"{"detail":"x","choices":[]}"#,
        r#"{"message":"","code":0}"#,
        r#"{"object":"list","data":[{"embedding":[0.5]}],"message":"ok"}"#,
        r#"{"choices":[{"delta":{"content":"a"},"error":null}]}"#,
    ] {
        assert!(
            !scan_chunk(none.as_bytes()).failed && !parsed(none.as_bytes()).failed,
            "{none}"
        );
    }
}

#[test]
fn an_error_within_a_stream_is_noticed() {
    assert!(scan_chunk(br#"{"error":{"message":"out of memory","code":500}}"#).failed);
    assert!(scan_chunk(br#"{"error" : "overloaded", "choices": 7}"#).failed);
    assert!(!scan_chunk(br#"{"error":null,"choices":[]}"#).failed);
}

#[test]
fn what_is_no_json_is_malformed() {
    for text in [
        "Number of choices must be greater than 0.",
        r#"{"choices":[{"delta":{"con"#,
        "<html></html>",
        "[DONE",
    ] {
        assert!(scan_chunk(text.as_bytes()).is_malformed, "{text}");
    }
    // Nothing, JSON of another kind, and what only some readers refuse: a number of Python's, half of a surrogate pair.
    for text in [
        "",
        " ",
        "null",
        "7",
        r#""ping""#,
        r#"{"choices":[{"logprobs":NaN}]}"#,
        r#"{"choices":[{"delta":{"content":["\ud83d"]}}]}"#,
    ] {
        assert!(!scan_chunk(text.as_bytes()).is_malformed, "{text}");
    }
}
