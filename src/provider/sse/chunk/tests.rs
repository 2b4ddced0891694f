//! What is read of answers, and that skimming them finds what parsing finds.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    BodyUsage, ChunkInfo, ReportedUsage, answer_text, delta_text, is_done, parsed, scan_chunk, skimmed, usage_of_body,
};

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
fn what_servers_commonly_send_is_not_parsed() {
    for usual in [
        r#"{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        r#"{ "id": "x", "choices": [ { "delta": { "content": "say \"hi\" \\" }, "finish_reason": "stop" } ] }"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{"}}]}}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":0}}}"#,
        r#"{"object":"list","data":[{"embedding":[0.1,-2e-3],"index":0}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#,
        r#"{"error":{"message":"overloaded"}}"#,
    ] {
        let found = skimmed(usual.as_bytes());
        assert!(found.is_some(), "{usual}");
        if !usual.contains('\\') {
            assert_eq!(found, Some(parsed(usual.as_bytes())), "{usual}");
        }
    }
}

#[test]
fn text_of_a_call_counts_wherever_it_stands() {
    for call in [
        r#"{"arguments":"abc"}"#,
        r#"{"text":"abc"}"#,
        r#"{"function":{"text":"abc"}}"#,
        r#"{"function":{"function":{"arguments":"abc"}}}"#,
    ] {
        let chunk = format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{call}]}}}}]}}"#);
        assert_eq!(scan_chunk(chunk.as_bytes()).text_bytes, 3, "{call}");
    }
}

#[test]
fn strange_answers_say_nothing() {
    for strange in [
        &b""[..],
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

/// Any JSON, with the keys that are read and others.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z ,:\\[\\]{}]{0,8}".prop_map(Value::from),
    ];
    let keys = "choices|usage|error|delta|message|content|reasoning|refusal|tool_calls|function|arguments|\
                finish_reason|prompt_tokens|completion_tokens|total_tokens|prompt_tokens_details|cached_tokens|\
                completion_tokens_details|reasoning_tokens|prompt_cache_hit_tokens|object|type|detail|function_call|text|[a-z]{0,3}";
    leaf.prop_recursive(8, 64, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// An answer as it should be, but for a value here and there.
fn answer() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![4 => "[a-z ,:]{0,8}".prop_map(Value::from), 1 => Just(Value::Null), 1 => json()];
    let count = || prop_oneof![4 => any::<u64>().prop_map(Value::from), 1 => json()];
    let calls = text().prop_map(|text| json!([{"index": 0, "function": {"name": "f", "arguments": text}}]));
    let calls = prop_oneof![2 => Just(Value::Null), 2 => calls, 1 => json()];
    let part = (text(), text(), calls)
        .prop_map(|(text, refusal, calls)| json!({"content": text, "refusal": refusal, "tool_calls": calls}));
    let part = prop_oneof![8 => part, 1 => json()];
    let choice = (
        part,
        prop_oneof![2 => Just(Value::Null), 1 => Just("stop".into()), 1 => json()],
        any::<bool>(),
    );
    let choice = choice.prop_map(|(part, finish, delta)| {
        json!({"index": 0, if delta { "delta" } else { "message" }: part, "logprobs": null, "finish_reason": finish})
    });
    let choices = prop_oneof![8 => prop::collection::vec(choice, 0..3).prop_map(Value::from), 1 => json()];
    let usage = (count(), count())
        .prop_map(|(input, output)| {
            json!({"prompt_tokens": input, "completion_tokens": output, "details": {},
                   "prompt_tokens_details": {"cached_tokens": output}, "completion_tokens_details": {"reasoning_tokens": input}})
        });
    let usage = prop_oneof![2 => Just(Value::Null), 4 => usage, 1 => json()];
    let error = prop_oneof![8 => Just(Value::Null), 1 => json()];
    (choices, usage, error).prop_map(
        |(choices, usage, error)| json!({"id": "chatcmpl-1", "choices": choices, "usage": usage, "error": error}),
    )
}

proptest! {
    #[test]
    fn skimming_finds_what_parsing_finds(value in prop_oneof![answer(), json()], pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        if let Some(info) = skimmed(text.as_bytes()) {
            prop_assert_eq!(info, parsed(text.as_bytes()), "{}", text);
        }
    }

    #[test]
    fn the_usage_at_the_end_is_that_of_the_whole(
        value in prop_oneof![answer(), json()],
        pretty in any::<bool>(),
        text in "([a-z]|\\\\|\\\"|usage|\"usage\"|:|\\{\"prompt_tokens\":7\\}|,){0,12}",
    ) {
        let mut value = value;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("z".to_owned(), text.clone().into());
            fields.insert(text, json!({"prompt_tokens": 1, "usage": {"prompt_tokens": 2}}));
        }
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        prop_assert_eq!(usage_of_body(text.as_bytes(), true).reported, scan_chunk(text.as_bytes()).usage, "{}", text);
    }

    #[test]
    fn a_text_that_is_cut_says_nothing(value in answer(), cut in any::<prop::sample::Index>()) {
        let text = value.to_string();
        let cut = cut.index(text.len());
        let info = scan_chunk(&text.as_bytes()[..cut]);
        prop_assert_eq!(info, ChunkInfo { is_malformed: info.is_malformed, ..ChunkInfo::default() });
    }

    #[test]
    fn never_panics(data in prop::collection::vec(prop_oneof![prop::sample::select(&b"{}[]\",:\\ n1-"[..]), any::<u8>()], 0..120)) {
        let _ = (scan_chunk(&data), delta_text(&data), answer_text(&data));
    }

    #[test]
    fn text_survives(text in "\\PC{0,40}") {
        let chunk = serde_json::json!({"choices": [{"delta": {"content": text}}]}).to_string();
        prop_assert_eq!(delta_text(chunk.as_bytes()).unwrap_or_default(), text);
    }
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
