use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Member, Reader, canonical};

/// The canonical form of a value, as that of a member is made.
fn of(value: &str) -> Option<String> {
    let member = Member { name: "\"v\"", value };
    canonical(&[member], &[]).map(|text| String::from_utf8(text).unwrap())
}

fn text(value: &str) -> String {
    of(value).unwrap()
}

#[test]
fn order_and_space_make_no_difference_and_everything_else_does() {
    let one = text(r#"{"model":"a","messages":[{"role":"user","content":"x, {\"y\": 1}"}],"n":1}"#);
    let two =
        text("{ \"n\" :1 , \"messages\" :[ {\"content\":\"x, {\\\"y\\\": 1}\",\t\"role\":\"user\"} ],\"model\":\"a\"}");
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
}

#[test]
fn members_are_put_in_order_and_left_out() {
    let member = |name, value| Member { name, value };
    let (one, two, left_out) = (
        member("\"n\"", "1"),
        member("\"stop\"", "[ 1 ]"),
        member("\"user\"", "{}"),
    );
    let text = canonical(&[one, two], &["user"]);
    assert_eq!(text.as_deref(), Some(&b"\"n\":1,\"stop\":[1],"[..]));
    assert_eq!(text, canonical(&[left_out, two, one], &["user"]));
    assert_ne!(text, canonical(&[left_out, two, one], &[]));
    assert_eq!(canonical(&[left_out], &["user"]), Some(Vec::new()));
}

/// `\u0061` is `a`, and of two members of one name most servers take the last.
#[test]
fn members_whose_names_may_be_one_keep_their_order() {
    let member = |name, value| Member { name, value };
    let (plain, escaped) = (member("\"a\"", "1"), member("\"\\u0061\"", "2"));
    assert_ne!(canonical(&[plain, escaped], &[]), canonical(&[escaped, plain], &[]));
    for one in [
        r#"{"a":1,"\u0061":2}"#,
        r#"{"\u0061":2,"a":1}"#,
        r#"[{"\u0061":[ ],"a":1,"b":0}]"#,
    ] {
        let form = text(one);
        let form = &form["\"v\":".len()..form.len() - 1];
        let values = [one, form].map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(values[0], values[1], "{form}");
        assert_eq!(text(form), text(one));
    }
}

/// What clients send is copied as a whole.
#[test]
fn requests_are_in_order_as_they_are_written() {
    for usual in [
        r#"[{"role":"system","content":"x"},{"role":"user","content":[{"type":"text","text":"y"},{"type":"image_url","image_url":{"url":"z"}}]}]"#,
        r#"[{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"b","arguments":"{}"}}]}]"#,
        "[]",
        "{}",
        "-1.5e3",
        "null",
        r#""\" \\""#,
    ] {
        assert!(Reader::of(usual).is_canonical(), "{usual}");
    }
    for other in [r#"{"content":1,"role":2}"#, "[ ]", "[1, 2]", "{\"a\": 1}", "1 ", ""] {
        assert!(!Reader::of(other).is_canonical(), "{other}");
    }
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(of(&nested(100)).is_some());
    assert!(of(&nested(100_000)).is_none());
    for bad in [
        "",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":\"",
        "{\"a\" 1}",
        "[1",
        "[1}",
        "{1:2}",
        "{,}",
        "[,]",
    ] {
        assert!(of(bad).is_none(), "{bad}");
    }
}

/// What is in order takes no memory for its members, so it may have as many as it likes.
#[test]
fn members_that_are_to_be_put_in_order_have_a_limit() {
    let object = |count: usize| format!("{{\"a\":1,\"b\":{{{}}}}}", vec!["\"\":1"; count].join(","));
    assert!(of(&object(4095)).is_some());
    assert!(of(&object(4097)).is_none());
    let sorted = format!("{{{}}}", vec!["\"\":1"; 10_000].join(","));
    assert!(of(&sorted).is_some());
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
    fn equal_exactly_when_the_values_are(a in value(), b in value()) {
        let one = text(&a.to_string());
        prop_assert_eq!(&one, &text(&scrambled(&a)));
        prop_assert_eq!(one == text(&b.to_string()), a == b);
    }

    /// A canonical form is its own, and what is found to be in canonical form is.
    #[test]
    fn a_canonical_form_is_found_to_be_one(value in value()) {
        let one = text(&scrambled(&value));
        let one = &one["\"v\":".len()..one.len() - 1];
        prop_assert!(Reader::of(one).is_canonical(), "{}", one);
        prop_assert_eq!(serde_json::from_str::<Value>(one).unwrap(), value);
    }

    #[test]
    fn never_panics(text in "[\\[\\]{}\",:\\\\a1 ]{0,30}") {
        let _ = of(&text);
    }
}

#[test]
fn a_body_is_what_it_was() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "é\u{1F600}"}], "top_p": 0.5});
    let text = text(&body.to_string());
    let again: Value = serde_json::from_str(&format!("{{{}}}", text.trim_end_matches(','))).unwrap();
    assert_eq!(again, json!({"v": body}));
}
