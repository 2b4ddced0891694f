//! One text for all ways to write the same JSON: members sorted by name, no white space. What makes a difference to a value
//! (digits, escapes, order in arrays) is left as it was written, so different texts may mean the same, never the reverse.

use crate::domain::json::quote_or_escape;

/// As deep as serde_json goes where it builds values. What is nested deeper is not ours to remember.
const DEEPEST: usize = 128;

/// The members of `object`, which must be valid JSON, without those named in `without`.
pub(super) fn canonical(object: &str, without: &[&str]) -> Option<Vec<u8>> {
    let mut writer = Writer {
        text: object.as_bytes(),
        at: 0,
        out: Vec::with_capacity(object.len() + 16),
        members: Vec::with_capacity(16),
        unsorted: Vec::new(),
    };
    writer.space();
    writer.object(0, without)?;
    Some(writer.out)
}

/// Every call that may be remembered goes through here, so that nothing is allocated for each object.
struct Writer<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
    /// Of the objects that are open, outermost first.
    members: Vec<Member<'a>>,
    /// An object as it came, while its members are put in order.
    unsorted: Vec<u8>,
}

/// Where a member's name stands in the text, and where all of it stands in the output.
struct Member<'a> {
    name: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> Writer<'a> {
    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// The next byte that is not white space, taken.
    fn next(&mut self) -> Option<u8> {
        self.space();
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.text.get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(depth, &[]),
            b'[' => self.array(depth),
            b'"' => {
                let string = self.string()?;
                self.out.extend_from_slice(string);
                Some(())
            }
            _ => {
                let rest = &self.text[self.at..];
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                self.out.extend_from_slice(&rest[..length]);
                self.at += length;
                Some(())
            }
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.at += 1;
        loop {
            self.at += quote_or_escape(self.text.get(self.at..)?)?;
            if self.text[self.at] == b'"' {
                self.at += 1;
                return Some(&self.text[start..self.at]);
            }
            self.at += 2;
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.next()?;
        self.out.push(b'[');
        if self.peek()? == b']' {
            self.at += 1;
        } else {
            loop {
                self.value(depth + 1)?;
                self.out.push(b',');
                if self.next()? == b']' {
                    break;
                }
            }
        }
        self.out.push(b']');
        Some(())
    }

    fn object(&mut self, depth: usize, without: &[&str]) -> Option<()> {
        if self.next()? != b'{' {
            return None;
        }
        self.out.push(b'{');
        let begin = self.out.len();
        let first = self.members.len();
        if self.peek()? == b'}' {
            self.at += 1;
        } else {
            loop {
                self.space();
                let name = self.string()?;
                let start = self.out.len();
                self.out.extend_from_slice(name);
                self.out.push(b':');
                if self.next()? != b':' {
                    return None;
                }
                self.value(depth + 1)?;
                self.out.push(b',');
                let plain = &name[1..name.len() - 1];
                if without.iter().any(|skipped| skipped.as_bytes() == plain) {
                    self.out.truncate(start);
                } else {
                    let end = self.out.len();
                    self.members.push(Member { name, start, end });
                }
                if self.next()? == b'}' {
                    break;
                }
            }
        }
        let members = &mut self.members[first..];
        if !members.is_sorted_by_key(|member| member.name) {
            // Stable, so that members of one name keep their order, which decides what they mean.
            members.sort_by_key(|member| member.name);
            self.unsorted.clear();
            self.unsorted.extend_from_slice(&self.out[begin..]);
            self.out.truncate(begin);
            for member in members {
                self.out
                    .extend_from_slice(&self.unsorted[member.start - begin..member.end - begin]);
            }
        }
        self.members.truncate(first);
        self.out.push(b'}');
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

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
                let member = |(name, value): (&String, &Value)| {
                    format!("{} :\t{}", Value::from(name.as_str()), scrambled(value))
                };
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
}
