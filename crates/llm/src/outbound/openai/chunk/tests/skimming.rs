//! That skimming an answer finds what parsing it finds.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{
    Beginning, ChunkInfo, answer_text, delta_text, parsed, scan_chunk, scan_next_chunk, skimmed, usage_of_body,
};

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
        let found = skimmed(usual.as_bytes(), None);
        assert!(found.is_some(), "{usual}");
        if !usual.contains('\\') {
            assert_eq!(found, Some(parsed(usual.as_bytes())), "{usual}");
        }
    }
}

#[test]
fn a_stream_is_read_from_where_its_chunks_differ() {
    let chunk = |text: &str| {
        format!(r#"{{"id":"x","object":"chat.completion.chunk","choices":[{{"delta":{{"content":"{text}"}}}}]}}"#)
    };
    let mut beginning = Beginning::default();
    for text in ["a", "bc", "def"] {
        let chunk = chunk(text);
        assert_eq!(beginning.is_of(chunk.as_bytes()), text != "a");
        assert_eq!(scan_next_chunk(chunk.as_bytes(), &mut beginning).text_bytes, text.len());
    }
    // What said something is not passed over.
    for _ in 0..2 {
        let chunk = r#"{"object":"error","choices":[]}"#;
        assert!(scan_next_chunk(chunk.as_bytes(), &mut beginning).failed);
        assert!(!beginning.is_of(chunk.as_bytes()));
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
    assert!(crate::sse::is_done(b"[DONE]") && crate::sse::is_done(b" [DONE] ") && !crate::sse::is_done(b"{}"));
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
        if let Some(info) = skimmed(text.as_bytes(), None) {
            prop_assert_eq!(info, parsed(text.as_bytes()), "{}", text);
        }
    }

    /// Chunks that begin alike or not, of which one may be cut.
    #[test]
    fn what_is_known_of_the_beginning_changes_nothing(
        chunks in prop::collection::vec((prop_oneof![answer(), json()], 0..3_usize, prop::option::of(any::<prop::sample::Index>())), 1..6),
    ) {
        let mut beginning = Beginning::default();
        for (value, begins, cut) in chunks {
            let mut text = value.to_string();
            if let Some(rest) = text.strip_prefix('{').filter(|rest| *rest != "}") {
                let first = [r#"{"id":"a","#, r#"{"id":"a","object":"error","#, r#"{"usage":{"prompt_tokens":1,"completion_tokens":2},"#][begins];
                text = format!("{first}{rest}");
            }
            let text = &text.as_bytes()[..cut.map_or(text.len(), |cut| cut.index(text.len()))];
            prop_assert_eq!(scan_next_chunk(text, &mut beginning), scan_chunk(text), "{}", String::from_utf8_lossy(text));
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
        let chunk = json!({"choices": [{"delta": {"content": text}}]}).to_string();
        prop_assert_eq!(delta_text(chunk.as_bytes()).unwrap_or_default(), text);
    }
}
