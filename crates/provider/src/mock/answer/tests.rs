//! Answers, whole and as streams.

use proptest::prelude::*;
use serde_json::json;

use super::{MockAnswer, pieces};
use llm::{
    outbound::openai::chunk::{delta_text, scan_chunk},
    sse::events,
};

#[test]
fn a_stream_adds_up_to_the_whole() {
    let body = json!({"model": "maple-dev", "messages": [{"role": "user", "content": "Some code, please"}], "stream_options": {"include_usage": true}});
    let answer = MockAnswer::of(&body, None).ok().unwrap();
    let text = answer.whole()["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    let stream: Vec<u8> = answer.events().iter().flat_map(|(_, event)| event.to_vec()).collect();
    let streamed: String = events(&stream).filter_map(|event| delta_text(event.data())).collect();
    assert_eq!(streamed, text);
    let usage = events(&stream)
        .filter_map(|event| scan_chunk(event.data()).usage)
        .collect::<Vec<_>>();
    assert_eq!(usage.len(), 1);
    assert_eq!(usage[0].output, answer.parts.len() as u64);
    assert!(stream.ends_with(b"data: [DONE]\n\n"));
}

#[test]
fn tools_limits_and_refusals() {
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"days": {"type": "integer"}}, "required": ["days"]}}}]);
    let asked = json!({"messages": [{"role": "user", "content": "x"}], "tools": tools});
    let call = MockAnswer::of(&asked, None).ok().unwrap().whole();
    assert_eq!(
        call["choices"][0]["message"]["tool_calls"][0]["function"],
        json!({"name": "weather", "arguments": "{\"days\":1}"})
    );
    assert_eq!(call["choices"][0]["finish_reason"], "tool_calls");
    let short = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 3});
    assert_eq!(
        MockAnswer::of(&short, None).ok().unwrap().sized(Some(10)).whole()["choices"][0]["finish_reason"],
        "length"
    );
    for bad in [
        json!({}),
        json!({"messages": []}),
        json!({"messages": [1]}),
        json!({"messages": [{"role": "x"}]}),
        json!({"messages": [{"role": "user", "content": "x"}], "n": 0}),
    ] {
        assert!(MockAnswer::of(&bad, None).is_err(), "{bad}");
    }
}

#[test]
fn choices_are_as_many_as_asked_for() {
    let body = json!({"messages": [{"role": "user", "content": "x"}], "n": 2, "max_tokens": 4});
    let answer = MockAnswer::of(&body, None).ok().unwrap().sized(None);
    let whole = answer.whole();
    assert_eq!(whole["choices"].as_array().unwrap().len(), 2);
    assert_eq!(whole["choices"][1]["index"], 1);
    assert_eq!(whole["usage"]["completion_tokens"], 8);
    // The opening, four pieces and the end, for each of both; and the marker.
    assert_eq!(answer.events().len(), 2 * (1 + 4 + 1) + 1);
    assert_eq!(
        answer
            .events()
            .iter()
            .filter(|(part, _)| *part == super::Part::Text)
            .count(),
        4
    );
}

proptest! {
    #[test]
    fn pieces_lose_nothing(text in "\\PC{0,60}|[a \n]{0,30}") {
        prop_assert_eq!(pieces(&text).concat(), text);
    }
}

#[test]
fn an_answer_in_anothers_place_closes_with_a_note_whatever_is_asked() {
    let note = "This is a canned answer: it is not there.";
    let question = json!([{"role": "user", "content": "Hello [[mock:tokens=500]]"}]);
    let tools = json!([{"type": "function", "function": {"name": "pay", "parameters": {}}}]);
    for (field, value, finish) in [
        ("user", json!("somebody"), "stop"),
        ("tools", tools, "stop"),
        ("max_tokens", json!(3), "length"),
        ("max_tokens", json!(100), "length"),
    ] {
        let mut body = json!({"model": "m", "messages": question});
        body[field] = value;
        let whole = MockAnswer::of(&body, Some(note)).ok().unwrap().sized(Some(500)).whole();
        let choice = &whole["choices"][0];
        let content = choice["message"]["content"].as_str().unwrap_or_default();
        assert!(content.ends_with(note), "{field}: {content}");
        assert_eq!(content.matches(note).count(), 1);
        assert_eq!(choice["finish_reason"], finish, "{field}");
    }
    let mut body = json!({"model": "m", "messages": question});
    body["response_format"] = json!({"type": "json_object"});
    let whole = MockAnswer::of(&body, Some(note)).ok().unwrap().sized(None).whole();
    let content = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(content).unwrap()["note"],
        note
    );
}
