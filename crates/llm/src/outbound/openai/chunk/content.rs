//! The text of answers, for those who keep it. Read with forbearance: what is odd about a chunk must not cost its text.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The text that a chunk adds, without what came before and comes after it.
pub fn delta_text(data: &[u8]) -> Option<String> {
    let mut reader = TextReader::default();
    let text = reader.read(data);
    reader
        .end()
        .map_or(text.clone(), |last| Some(text.unwrap_or_default() + last))
}

/// The text of a whole answer's first choice.
pub fn answer_text(body: &[u8]) -> Option<String> {
    let mut reader = TextReader::default();
    let choice = first_choice(body)?;
    reader.take(choice.message?);
    let last = reader.end().unwrap_or_default();
    reader.out.push_str(last);
    Some(reader.out).filter(|text| !text.is_empty())
}

/// What stands for a half of a surrogate pair whose other half did not come.
const REPLACEMENT: &str = "\u{fffd}";

/// Reads the text of a stream's first choice, chunk by chunk. Servers whose strings are UTF-16 may cut a character beyond the basic plane
/// between two chunks; it is put together again.
#[derive(Debug, Default)]
pub struct TextReader {
    out: String,
    /// The first half of such a character.
    half: Option<u16>,
}

impl TextReader {
    /// The text that the next chunk adds, if it adds some.
    pub fn read(&mut self, data: &[u8]) -> Option<String> {
        self.take(first_choice(data)?.delta?);
        Some(std::mem::take(&mut self.out)).filter(|text| !text.is_empty())
    }

    /// What is left when there are no more.
    pub fn end(&mut self) -> Option<&'static str> {
        self.half.take().map(|_| REPLACEMENT)
    }

    fn take(&mut self, part: &RawValue) {
        #[derive(Deserialize)]
        struct Part<'a> {
            #[serde(borrow, default)]
            content: Option<&'a RawValue>,
        }
        if let Ok(Part { content: Some(content) }) = serde_json::from_str(part.get()) {
            self.content(content);
        }
    }

    /// A text, or a list of parts of which some are text (Mistral).
    fn content(&mut self, content: &RawValue) {
        #[derive(Deserialize)]
        struct Part<'a> {
            #[serde(borrow, default, rename = "type")]
            kind: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            text: Option<&'a RawValue>,
        }
        let raw = content.get();
        match raw.as_bytes().first() {
            Some(b'"') => self.string(&raw[1..raw.len() - 1]),
            Some(b'[') => {
                let parts: Vec<&RawValue> = serde_json::from_str(raw).unwrap_or_default();
                for part in parts {
                    self.content(part);
                }
            }
            Some(b'{') => {
                let part = serde_json::from_str::<Part<'_>>(raw);
                if let Ok(Part { kind, text: Some(text) }) = part
                    && !matches!(kind.as_deref(), Some("thinking" | "reasoning"))
                    && text.get().starts_with('"')
                {
                    self.content(text);
                }
            }
            _ => {}
        }
    }

    /// A string as JSON writes it, without its quotes.
    fn string(&mut self, mut raw: &str) {
        while let Some(at) = raw.find('\\') {
            self.plain(&raw[..at]);
            let escape = raw.as_bytes().get(at + 1).copied().unwrap_or_default();
            raw = raw.get(at + 2..).unwrap_or_default();
            match escape {
                b'u' => {
                    let unit = raw.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
                    raw = raw.get(4..).unwrap_or_default();
                    self.unit(unit.unwrap_or(0xfffd));
                }
                b'n' => self.plain("\n"),
                b't' => self.plain("\t"),
                b'r' => self.plain("\r"),
                b'b' => self.plain("\u{8}"),
                b'f' => self.plain("\u{c}"),
                b'"' => self.plain("\""),
                b'\\' => self.plain("\\"),
                _ => self.plain("/"),
            }
        }
        self.plain(raw);
    }

    fn plain(&mut self, text: &str) {
        if !text.is_empty() {
            self.out.push_str(self.half.take().map_or("", |_| REPLACEMENT));
            self.out.push_str(text);
        }
    }

    /// One UTF-16 code unit.
    fn unit(&mut self, unit: u16) {
        match (self.half.take(), unit) {
            (Some(high), 0xdc00..0xe000) => {
                let whole = char::decode_utf16([high, unit]).next().and_then(Result::ok);
                self.out.push(whole.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (before, unit) => {
                self.out.push_str(before.map_or("", |_| REPLACEMENT));
                match unit {
                    0xd800..0xdc00 => self.half = Some(unit),
                    unit => self
                        .out
                        .push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

/// The choice with index 0, else the first: some servers number from 1, or write texts, or nothing.
fn first_choice(data: &[u8]) -> Option<Choice<'_>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        choices: Vec<Choice<'a>>,
    }
    let Answer { mut choices } = serde_json::from_slice(data).ok()?;
    let is_first = |choice: &Choice<'_>| choice.index.is_none_or(|index| index.get().trim_matches('"') == "0");
    let place = choices.iter().position(is_first).unwrap_or(0);
    (place < choices.len()).then(|| choices.swap_remove(place))
}

#[cfg(test)]
mod tests {
    use super::{TextReader, answer_text, delta_text};
    use proptest::prelude::*;
    use serde_json::json;

    fn read(deltas: &[&str]) -> String {
        let mut reader = TextReader::default();
        let mut all = String::new();
        for delta in deltas {
            let chunk = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":{delta}}}}}]}}"#);
            all.push_str(&reader.read(chunk.as_bytes()).unwrap_or_default());
        }
        all + reader.end().unwrap_or_default()
    }

    #[test]
    fn halves_of_a_character_are_put_together() {
        assert_eq!(read(&[r#""Hi \ud83d""#, r#""\ude00 there""#]), "Hi \u{1f600} there");
        assert_eq!(
            read(&[r#""Hi \ud83d""#, r#""""#, "null", r#""\ude00""#]),
            "Hi \u{1f600}"
        );
        assert_eq!(read(&[r#""Hi \ud83d""#, r#"" there""#]), "Hi \u{fffd} there");
        assert_eq!(
            read(&[r#""\ude00 Hi \ud83d\ud83d\ude00 \ud83d""#]),
            "\u{fffd} Hi \u{fffd}\u{1f600} \u{fffd}"
        );
        assert_eq!(
            delta_text(br#"{"choices":[{"delta":{"content":"a\ud83d"}}]}"#).unwrap(),
            "a\u{fffd}"
        );
        assert_eq!(
            answer_text(br#"{"choices":[{"message":{"content":"\ude00b"}}]}"#).unwrap(),
            "\u{fffd}b"
        );
    }

    #[test]
    fn parts_that_are_text_are_read() {
        let musing = r#"[{"type":"thinking","thinking":[{"type":"text","text":"Let me see."}]}]"#;
        let parts = r#"[{"type":"text","text":"Hi"},{"type":"image_url","image_url":{"url":"data:,x"}}," you"]"#;
        assert_eq!(read(&[musing, parts, r#"" all""#]), "Hi you all");
        for nothing in ["7", "null", "{}", "[7,[]]", r#"{"text":{}}"#] {
            assert_eq!(read(&[nothing, r#""Hi""#]), "Hi", "{nothing}");
        }
    }

    #[test]
    fn the_first_choice_is_found_by_whatever_number_it_has() {
        for index in ["null", "\"0\"", "1", "0", "-1", "{}"] {
            let chunk = format!(r#"{{"choices":[{{"index":{index},"delta":{{"content":"Hi"}}}}]}}"#);
            assert_eq!(delta_text(chunk.as_bytes()).as_deref(), Some("Hi"), "{index}");
        }
        let two =
            json!({"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]});
        assert_eq!(delta_text(two.to_string().as_bytes()).as_deref(), Some("a"));
        for none in [
            r#"{"choices":[]}"#,
            r#"{"choices":[{"delta":null}]}"#,
            r#"{"choices":[{}]}"#,
        ] {
            assert_eq!(delta_text(none.as_bytes()), None);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_cut_wherever_is_read_as_it_was(text in any::<String>(), cut in any::<prop::sample::Index>()) {
            let units: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            let (one, other) = units.split_at(cut.index(units.len() + 1));
            prop_assert_eq!(read(&[&format!("\"{}\"", one.concat()), &format!("\"{}\"", other.concat())]), text.clone());
            prop_assert_eq!(read(&[&serde_json::to_string(&text).unwrap()]), text);
        }
    }
}
