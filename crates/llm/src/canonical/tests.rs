use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::canonical;

fn text(object: &str) -> String {
    String::from_utf8(canonical(object, &["stream", "user"]).unwrap()).unwrap()
}

#[test]
fn order_and_space_make_no_difference_and_everything_else_does() {
    let one = text(r#"{"model":"a","messages":[{"role":"user","content":"x, {\"y\": 1}"}],"n":1,"stream":true}"#);
    let two = text(
        "\n{ \"user\": {\"a\": [1]}, \"n\" :1 , \"messages\" :[ {\"content\":\"x, {\\\"y\\\": 1}\",\t\"role\":\"user\"} ],\"model\":\"a\"}",
    );
    assert_eq!(one, two);
    for other in [
        r#"{"model":"a","messages":[{"role":"user","content":"x,{\"y\": 1}"}],"n":1}"#,
        r#"{"model":"a","messages":[{"role":"user","content":"x, {\"y\": 1}"}],"n":1.0}"#,
        r#"{"model":"a","messages":[{"role":"user","content":"x, {\"y\": 1}"}]}"#,
        r#"{"model":"a","messages":[{"role":"user","content":"x, {\"y\": 1}","stream":true}],"n":1}"#,
    ] {
        assert_ne!(one, text(other), "{other}");
    }
    assert_ne!(text(r#"{"a":1,"a":2}"#), text(r#"{"a":2,"a":1}"#));
    assert_eq!(text("{}"), "{}");
    assert_eq!(text(r#"{"stream":1}"#), "{}");
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(canonical(&nested(100), &[]).is_some());
    assert!(canonical(&nested(100_000), &[]).is_none());
    for bad in ["", "[]", "{", "{\"a\"", "{\"a\":", "{\"a\":\"", "{\"a\" 1}"] {
        assert!(canonical(bad, &[]).is_none(), "{bad}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        "[ab\"\\\\{}:, ]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[ab,:]{0,2}", inner), 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// With white space, and members in reverse.
fn scrambled(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            let inner: Vec<_> = values.iter().map(scrambled).collect();
            format!("[ {} ]", inner.join(" ,\n"))
        }
        Value::Object(members) => {
            let member =
                |(name, value): (&String, &Value)| format!("{} :\t{}", Value::from(name.as_str()), scrambled(value));
            let inner: Vec<_> = members.iter().rev().map(member).collect();
            format!("{{ {} }}", inner.join(" , "))
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn equal_exactly_when_the_values_are(a in prop::collection::btree_map("[ab,]{0,2}", value(), 0..4), b in prop::collection::btree_map("[ab,]{0,2}", value(), 0..4)) {
        let object = |members: std::collections::BTreeMap<String, Value>| Value::Object(members.into_iter().collect::<Map<_, _>>());
        let (a, b) = (object(a), object(b));
        let one = canonical(&a.to_string(), &[]).unwrap();
        prop_assert_eq!(&one, &canonical(&scrambled(&a), &[]).unwrap());
        prop_assert_eq!(one == canonical(&b.to_string(), &[]).unwrap(), a == b);
    }

    #[test]
    fn never_panics(text in "[\\[\\]{}\",:\\\\a1 ]{0,30}") {
        let _ = canonical(&text, &["a"]);
    }
}

#[test]
fn a_body_is_what_it_was() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "é\u{1F600}"}], "top_p": 0.5});
    let text = canonical(&body.to_string(), &[]).unwrap();
    let again = String::from_utf8(text).unwrap().replace(",}", "}").replace(",]", "]");
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), body);
}
