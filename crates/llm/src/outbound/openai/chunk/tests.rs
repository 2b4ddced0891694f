//! What is read of answers.

mod failures;
mod skimming;

use serde_json::json;

use super::{BodyUsage, ChunkInfo, ReportedUsage, answer_text, delta_text, scan_chunk, usage_of_body};

#[expect(clippy::unnecessary_wraps, reason = "compared with what may be missing")]
fn counts(input: u64, output: u64, cached_input: u64) -> Option<ReportedUsage> {
    Some(ReportedUsage {
        input,
        output,
        cached_input,
    })
}

#[test]
fn an_empty_finish_reason_is_none() {
    for data in [
        r#"{"choices":[{"delta":{"content":"a"},"finish_reason":""}]}"#,
        r#"{"choices":[{"delta":{"content":["a"]},"finish_reason":""}]}"#,
    ] {
        assert_eq!(scan_chunk(data.as_bytes()).finished, 0, "{data}");
    }
}

#[test]
fn a_count_that_cannot_be_is_none() {
    let usage = |count: &str| {
        let data = format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":{count},"completion_tokens":{count},"total_tokens":3}}}}"#
        );
        scan_chunk(data.as_bytes()).usage
    };
    assert_eq!(usage("1000000000"), counts(1_000_000_000, 1_000_000_000, 0));
    for beyond in ["1000000001", "18446744073709551615", "\"1000000001\""] {
        assert_eq!(usage(beyond), counts(3, 0, 0), "{beyond}");
    }
}

#[test]
fn reads_what_servers_send() {
    let text =
        br#"{"id":"x","choices":[{"index":0,"delta":{"content":"Hi \"you\""},"finish_reason":null}],"usage":null}"#;
    assert_eq!(
        scan_chunk(text),
        ChunkInfo {
            has_choices: true,
            has_substance: true,
            text_bytes: 10,
            ..ChunkInfo::default()
        }
    );
    assert_eq!(delta_text(text).as_deref(), Some("Hi \"you\""));
    let spaced = br#"{ "choices" : [ { "delta" : { "content" : "a" }, "finish_reason" : "stop" } ] }"#;
    let info = scan_chunk(spaced);
    assert_eq!((info.finished, info.text_bytes), (1, 1));
    let usage = br#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,"x":{}}}"#;
    assert_eq!(
        scan_chunk(usage),
        ChunkInfo {
            usage: counts(3, 5, 0),
            ..ChunkInfo::default()
        }
    );
    let tool = br#"{"choices":[{"delta":{"content":null,"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}"#;
    assert_eq!(scan_chunk(tool).text_bytes, 2);
    assert_eq!(delta_text(tool), None);
    let whole = br#"{"choices":[{"message":{"role":"assistant","content":"abc"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    assert_eq!(
        usage_of_body(whole, true),
        BodyUsage {
            reported: counts(1, 2, 0),
            text_bytes: 0
        }
    );
    assert_eq!(answer_text(whole).as_deref(), Some("abc"));
    let embedding = br#"{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#;
    assert_eq!(usage_of_body(embedding, false).reported, counts(4, 0, 0));
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
        assert_eq!(usage_of_body(other.as_bytes(), true).reported, None, "{other}");
    }
}

#[test]
fn one_field_of_another_type_does_not_hide_the_rest() {
    let counted = counts(12, 5, 0);
    let floats = br#"{"choices":[],"usage":{"prompt_tokens":12.0,"completion_tokens":5}}"#;
    assert_eq!(scan_chunk(floats).usage, counted);
    assert!(!scan_chunk(floats).has_choices);
    let parts =
        br#"{"choices":[{"delta":{"content":[{"type":"text","text":"abc"}],"tool_calls":{}},"finish_reason":null}],
                     "usage":{"prompt_tokens":12,"completion_tokens":5}}"#;
    let info = scan_chunk(parts);
    assert_eq!(
        (info.usage, info.has_choices, info.text_bytes, info.finished),
        (counted, true, 3, 0)
    );
    for negative in ["-1", "1.5", "1e400", "\"-7\"", "\"\"", "[7]", "null"] {
        let usage = format!("{{\"choices\":[],\"usage\":{{\"prompt_tokens\":{negative}}}}}");
        assert_eq!(scan_chunk(usage.as_bytes()), ChunkInfo::default(), "{negative}");
    }
}

#[test]
fn what_reasoning_and_cached_tokens_are_counted_in_differs() {
    for (usage, found) in [
        // On top (xAI), within (OpenAI), and on top without a total.
        (
            json!({"prompt_tokens": 30, "completion_tokens": 10, "total_tokens": 540, "completion_tokens_details": {"reasoning_tokens": 500}}),
            counts(30, 510, 0),
        ),
        (
            json!({"prompt_tokens": 30, "completion_tokens": 510, "total_tokens": 540, "completion_tokens_details": {"reasoning_tokens": 500}}),
            counts(30, 510, 0),
        ),
        (
            json!({"prompt_tokens": 30, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 500}}),
            counts(30, 510, 0),
        ),
        (
            json!({"prompt_tokens": 30, "completion_tokens": 10, "total_tokens": 20}),
            counts(30, 10, 0),
        ),
        (
            json!({"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 90}}),
            counts(100, 1, 90),
        ),
        (
            json!({"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": null, "prompt_cache_hit_tokens": 90}),
            counts(100, 1, 90),
        ),
        (
            json!({"prompt_tokens": 100, "completion_tokens": 1, "cached_tokens": 900}),
            counts(100, 1, 100),
        ),
        (
            json!({"prompt_tokens": "900", "completion_tokens": "300.0"}),
            counts(900, 300, 0),
        ),
        (
            json!({"prompt_tokens": 900.0, "completion_tokens": 300.0}),
            counts(900, 300, 0),
        ),
        (json!({"total_tokens": 8}), counts(8, 0, 0)),
        (
            json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
            counts(0, 0, 0),
        ),
        (
            json!({"prompt_tokens": 1, "completion_tokens": u64::MAX, "completion_tokens_details": {"reasoning_tokens": u64::MAX}}),
            counts(1, 0, 0),
        ),
        (json!({}), None),
    ] {
        assert_eq!(
            scan_chunk(json!({"choices": [], "usage": usage}).to_string().as_bytes()).usage,
            found,
            "{usage}"
        );
        let within = json!({"choices": [{"delta": {}, "usage": usage}], "usage": null});
        assert_eq!(
            scan_chunk(within.to_string().as_bytes()).usage,
            found,
            "in the choice: {usage}"
        );
    }
}

#[test]
fn a_message_beside_the_delta_is_no_further_text() {
    let both = br#"{"choices":[{"delta":{"content":"lo"},"message":{"role":"assistant","content":"Hello"}}]}"#;
    assert_eq!(scan_chunk(both).text_bytes, 2);
    let last = br#"{"choices":[{"delta":{},"message":{"content":"Hello"},"finish_reason":"stop"}]}"#;
    assert_eq!(scan_chunk(last).text_bytes, 0);
    let whole = br#"{"choices":[{"delta":null,"message":{"content":"Hello"}}]}"#;
    assert_eq!(scan_chunk(whole).text_bytes, 5);
    let parts = br#"{"choices":[{"delta":{"content":[{"text":"lo"}]},"message":{"content":[{"text":"Hello"}]}}]}"#;
    assert_eq!(scan_chunk(parts).text_bytes, 2);
}
