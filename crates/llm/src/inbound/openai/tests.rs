use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{BadRequest, RequestView};
use crate::Endpoint::{ChatCompletions, Embeddings};

fn rewritten(body: &str, upstream: &str, add_usage: bool) -> String {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let request = RequestView::read(&body, ChatCompletions).unwrap();
    String::from_utf8(request.for_upstream(&body, upstream, add_usage).to_vec()).unwrap()
}

#[test]
fn unknown_fields_and_spacing_survive() {
    let body = r#" { "x_new" : [1, {"y":null}],"model":"a", "messages" : [ ], "stream":true } "#;
    assert_eq!(rewritten(body, "a", false), body);
    assert_eq!(
        rewritten(body, "b/\"c", true),
        r#" { "x_new" : [1, {"y":null}],"model":"b/\"c", "messages" : [ ], "stream":true ,"stream_options":{"include_usage":true}} "#
    );
    let options = r#"{"stream_options":{"x":1},"model":"a","messages":[]}"#;
    let value: Value = serde_json::from_str(&rewritten(options, "zz", true)).unwrap();
    assert_eq!(
        value,
        json!({"stream_options": {"x": 1, "include_usage": true}, "model": "zz", "messages": []})
    );
    let null = r#"{"stream_options":null,"model":"a","messages":[]}"#;
    let read = RequestView::read(null.as_bytes(), ChatCompletions).unwrap();
    assert!(!read.form.include_usage && !read.form.streamed);
    assert_eq!(rewritten(null, "a", false), null);
    assert_eq!(
        rewritten(null, "a", true),
        r#"{"stream_options":{"include_usage":true},"model":"a","messages":[]}"#,
        "a second one would be refused"
    );
}

#[test]
fn refusals_name_the_field() {
    let refused = |body: &str| {
        RequestView::read(body.as_bytes(), ChatCompletions)
            .unwrap_err()
            .to_string()
    };
    for (body, message) in [
        ("", "the body is not valid JSON: EOF"),
        ("[]", "invalid type for 'body': expected an object"),
        ("{}", "you must provide a model parameter"),
        (r#"{"model":null}"#, "you must provide a model parameter"),
        (r#"{"model":7}"#, "invalid type for 'model': expected a string"),
        (r#"{"model":"a"}"#, "you must provide a messages parameter"),
        (
            r#"{"model":"a","messages":{}}"#,
            "invalid type for 'messages': expected an array",
        ),
        (
            r#"{"model":"a","messages":[],"stream":"yes"}"#,
            "invalid type for 'stream': expected a boolean",
        ),
        (
            r#"{"model":"a","messages":[],"stream_options":1}"#,
            "invalid type for 'stream_options': expected an object",
        ),
        (
            r#"{"model":"a","model":"b","messages":[]}"#,
            "the body is not valid JSON: duplicate field `model`",
        ),
        (r#"{"model":"a","messages":[]"#, "the body is not valid JSON: EOF"),
    ] {
        assert!(refused(body).starts_with(message), "{body}: {}", refused(body));
    }
    assert!(matches!(
        RequestView::read(b"\xff", ChatCompletions),
        Err(BadRequest::Utf8(_))
    ));
    assert!(RequestView::read(br#"{"model":"e","input":"x"}"#, Embeddings).is_ok());
    assert!(RequestView::read(br#"{"model":"e","messages":[]}"#, Embeddings).is_err());
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn only_the_edited_fields_change(extra in prop::collection::btree_map("x_\\PC{0,6}", json_value(), 0..5), model in "\\PC{1,12}", upstream in "\\PC{1,12}") {
        let mut value = json!({"messages": [{"role": "user", "content": "}"}], "stream": true, "model": model});
        for (name, field) in extra {
            value[name] = field;
        }
        let after: Value = serde_json::from_str(&rewritten(&value.to_string(), &upstream, true)).unwrap();
        value["model"] = upstream.into();
        value["stream_options"] = json!({"include_usage": true});
        prop_assert_eq!(after, value);
    }

    #[test]
    fn never_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = RequestView::read(&body, ChatCompletions);
    }
}
