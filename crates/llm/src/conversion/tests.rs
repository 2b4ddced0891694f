//! Each form from the other, and what has none.

use super::{chunks_to_completion, chunks_to_completion_lenient, completion_to_chunks};
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
        parsed(&chunks_to_completion(events.as_bytes(), usage.as_bytes()).unwrap()),
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
    let (events, usage) = completion_to_chunks(whole.to_string().as_bytes()).unwrap();
    let text = String::from_utf8(events.clone()).unwrap();
    assert!(
        text.contains("chat.completion.chunk") && !text.contains("prompt_tokens"),
        "{text}"
    );
    assert_eq!(parsed(&chunks_to_completion(&events, &usage).unwrap()), whole);
}

#[test]
fn what_is_no_answer_has_no_other_form() {
    assert!(completion_to_chunks(b"{}").is_none());
    assert!(completion_to_chunks(b"nonsense").is_none());
    assert!(chunks_to_completion(b"", b"").is_none());
    assert!(chunks_to_completion(b"data: nonsense\n\n", b"").is_none());
}

/// The calls of tools that a stream with these lists makes, if it is clear.
fn called(lists: &[Value]) -> Option<Value> {
    called_until("tool_calls", lists)
}

fn called_until(reason: &str, lists: &[Value]) -> Option<Value> {
    let mut events =
        String::from("data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n");
    for list in lists {
        let chunk = json!({"choices": [{"index": 0, "delta": {"tool_calls": list}, "finish_reason": null}]});
        events.extend(["data: ", &chunk.to_string(), "\n\n"]);
    }
    let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    events.extend(["data: ", &last.to_string(), "\n\n"]);
    let whole = chunks_to_completion(events.as_bytes(), b"")?;
    let calls = parsed(&whole)["choices"][0]["message"]["tool_calls"].clone();
    Some(
        calls
            .as_array()
            .unwrap()
            .iter()
            .map(|call| json!([call["id"], call["function"]["name"], call["function"]["arguments"]]))
            .collect(),
    )
}

#[test]
fn calls_of_tools_are_put_together_however_their_pieces_are_named() {
    let one = json!([["call_1", "get", "{\"a\":1}"]]);
    let two = json!([["call_1", "get", "{\"a\":1}"], ["call_2", "put", "{\"b\":2}"]]);
    for (lists, made) in [
        // Names again as nothing.
        (
            json!([
                [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "get", "arguments": ""}}],
                [{"index": 0, "id": "", "function": {"name": "", "arguments": "{\"a\":"}}],
                [{"index": 0, "id": null, "function": {"name": null, "arguments": "1}"}}],
            ]),
            &one,
        ),
        // No index, and none that is one.
        (
            json!([
                [{"id": "call_1", "function": {"name": "get", "arguments": ""}}],
                [{"function": {"arguments": "{\"a\":"}}],
                [{"index": null, "function": {"arguments": "1}"}}],
            ]),
            &one,
        ),
        (
            json!([
                [{"index": null, "id": "call_1", "function": {"name": "get", "arguments": "{\"a\":1}"}}],
                [{"index": null, "id": "call_2", "function": {"name": "put", "arguments": "{\"b\":2}"}}],
            ]),
            &two,
        ),
        // All names each time.
        (
            json!([
                [{"index": 0, "id": "call_1", "function": {"name": "get", "arguments": ""}}],
                [{"index": 0, "id": "call_1", "function": {"name": "get", "arguments": "{\"a\":"}}],
                [{"index": 0, "id": "call_1", "function": {"name": "get", "arguments": "1}"}}],
            ]),
            &one,
        ),
        // A name in two pieces.
        (
            json!([
                [{"index": 0, "id": "call_1", "function": {"name": "ge", "arguments": ""}}],
                [{"index": 0, "function": {"name": "t", "arguments": "{\"a\":"}}],
                [{"index": 0, "function": {"arguments": "1}"}}],
            ]),
            &one,
        ),
        // Two pieces of one call in one list.
        (
            json!([
                [{"index": 0, "id": "call_1", "function": {"name": "get"}}, {"index": 0, "function": {"arguments": "{"}}],
                [{"index": 0, "function": {"arguments": "\"a\":"}}],
                [{"index": 0, "function": {"arguments": "1}"}}],
            ]),
            &one,
        ),
        // One index for all of them, and pieces in turns.
        (
            json!([
                [{"index": 0, "id": "call_1", "function": {"name": "get", "arguments": "{\"a\":1}"}}],
                [{"index": 0, "id": "call_2", "function": {"name": "put", "arguments": "{\"b\""}}],
                [{"index": 0, "function": {"arguments": ":2}"}}],
            ]),
            &two,
        ),
        (
            json!([
                [{"index": 0, "id": "call_1", "function": {"name": "get", "arguments": "{\"a\""}},
                 {"index": 1, "id": "call_2", "function": {"name": "put", "arguments": "{\"b\""}}],
                [{"index": 1, "function": {"arguments": ":2}"}}, {"index": "0", "function": {"arguments": ":1}"}}],
            ]),
            &two,
        ),
        // Arguments that are not written out.
        (
            json!([[{"index": 0, "id": "call_1", "function": {"name": "get", "arguments": {"a": 1}}}]]),
            &one,
        ),
    ] {
        assert_eq!(called(lists.as_array().unwrap()).as_ref(), Some(made), "{lists}");
    }
}

#[test]
fn calls_that_are_not_clear_have_no_other_form() {
    for lists in [
        // Who is meant by the second?
        json!([
            [{"function": {"name": "get", "arguments": "{}"}}],
            [{"function": {"name": "put", "arguments": "{}"}}],
        ]),
        json!([
            [{"index": 0, "id": "call_1", "function": {"name": "get", "arguments": "{"}}],
            [{"index": 0, "id": "call_2", "function": {"arguments": "}"}}],
        ]),
        // `geget`, or `get` again?
        json!([
            [{"index": 0, "id": "call_1", "function": {"name": "ge", "arguments": ""}}],
            [{"index": 0, "function": {"name": "get", "arguments": "{}"}}],
        ]),
        json!([
            [{"index": 0, "id": "call_1", "function": {"name": "get", "arguments": "{"}}],
            [{"index": 0, "function": {"name": "put", "arguments": "}"}}],
        ]),
        // Nobody could carry them out.
        json!([[{"index": 0, "id": "call_1", "function": {"name": "get", "arguments": "{\"a\":"}}]]),
        json!([[{"index": 0, "id": "", "function": {"name": "get", "arguments": "{}"}}]]),
        json!([[{"index": 0, "id": "call_1", "function": {"arguments": "{}"}}]]),
        json!(["get"]),
        json!([[7]]),
        json!([[{"index": -1, "id": "call_1", "function": {"name": "get", "arguments": "{}"}}]]),
    ] {
        assert_eq!(called(lists.as_array().unwrap()), None, "{lists}");
    }
    let cut = [json!([{"index": 0, "id": "call_1", "function": {"name": "get", "arguments": "{\"a\":"}}])];
    assert_eq!(
        called_until("length", &cut),
        Some(json!([["call_1", "get", "{\"a\":"]]))
    );
}

fn joined(deltas: &[Value], more: &Value) -> Option<Value> {
    let mut events = String::new();
    for delta in deltas {
        let mut choice = json!({"index": 0, "delta": delta, "finish_reason": null});
        for (name, value) in more.as_object().unwrap() {
            choice[name] = value.clone();
        }
        let chunk = json!({"id": "c", "choices": [choice]});
        events.extend(["data: ", &chunk.to_string(), "\n\n"]);
    }
    Some(parsed(&chunks_to_completion(events.as_bytes(), b"")?)["choices"][0].clone())
}

#[test]
fn only_deltas_make_the_message() {
    let deltas = [
        json!({"role": "assistant", "content": "Hel"}),
        json!({"content": "lo"}),
        Value::Null,
    ];
    let whole = joined(
        &deltas,
        &json!({"message": {"role": "assistant", "content": "Hello so far"}}),
    )
    .unwrap();
    assert_eq!(whole["message"], json!({"role": "assistant", "content": "Hello"}));
    for index in [json!(null), json!("0"), json!(0)] {
        let whole = joined(&deltas, &json!({"index": index})).unwrap();
        assert_eq!(
            (&whole["index"], &whole["message"]["content"]),
            (&json!(0), &json!("Hello"))
        );
    }
}

#[test]
fn what_may_be_a_piece_of_something_unknown_is_not_guessed_at() {
    let twice = |name: &str, one: Value, other: Value| joined(&[json!({name: one}), json!({name: other})], &json!({}));
    for (name, one, other) in [
        (
            "content",
            json!([{"type": "text", "text": "a"}]),
            json!([{"type": "text", "text": "b"}]),
        ),
        ("content", json!("a"), json!([{"type": "text", "text": "b"}])),
        ("audio", json!({"data": "UklG"}), json!({"data": "AAAA"})),
        ("x_thoughts", json!("a"), json!("b")),
        (
            "reasoning_details",
            json!([{"text": "a", "index": 0}]),
            json!([{"text": "b", "index": 0}]),
        ),
    ] {
        assert_eq!(twice(name, one.clone(), other.clone()), None, "{name}: {one} {other}");
    }
    for (one, other) in [
        (json!("a"), json!("")),
        (json!(null), json!("a")),
        (json!("a"), json!("a")),
    ] {
        assert_eq!(twice("x_thoughts", one, other).unwrap()["message"]["x_thoughts"], "a");
    }
    let function = [
        json!({"function_call": {"name": "get", "arguments": ""}}),
        json!({"function_call": {"arguments": "{\"a\":"}}),
        json!({"function_call": {"name": "", "arguments": "1}"}}),
    ];
    assert_eq!(
        joined(&function, &json!({})).unwrap()["message"]["function_call"],
        json!({"name": "get", "arguments": "{\"a\":1}"})
    );
}

/// Servers that cut their text between the halves of a surrogate pair, or between the bytes of a letter.
#[test]
fn what_is_no_text_costs_no_more_than_itself_where_there_is_no_other_form() {
    let answer = |pieces: &[&[u8]]| {
        let mut events = Vec::new();
        for piece in pieces {
            events.extend_from_slice(br#"data: {"choices":[{"delta":{"content":""#);
            events.extend_from_slice(piece);
            events.extend_from_slice(b"\"}}]}\n\n");
        }
        assert_eq!(chunks_to_completion(&events, b""), None, "for others who ask the same");
        parsed(&chunks_to_completion_lenient(&events).unwrap())["choices"][0]["message"]["content"].clone()
    };
    for (pieces, text) in [
        (&[&br"Globe: \ud83c"[..], br"\udf0d!"][..], "Globe: \u{fffd}\u{fffd}!"),
        (
            &[br"\ud83c\udf0d and \udf0d", br"\\ud83c"],
            "\u{1f30d} and \u{fffd}\\ud83c",
        ),
        (&[b"caf\xc3", b"\xa9"], "caf\u{fffd}\u{fffd}"),
    ] {
        assert_eq!(answer(pieces), text);
    }
}
