//! How much a prompt is, for estimates where the upstream reports nothing.
//!
//! Text counts by its bytes. Pictures, sounds and files, which come as base64 in the midst of it, do not: models take a picture in as some hundred to a
//! thousand tokens, whatever its size (as text, one photograph would be six hundred thousand: QuantumNous/new-api #7148, langgenius/dify #5868).

use std::sync::LazyLock;

use memchr::memmem::Finder;

use domain::json::quote_or_escape;

/// What an attachment counts as: about 1,100 tokens, as much as a large picture at OpenAI. In bytes of text.
const ATTACHMENT: usize = 4 * 1_100;
/// Shorter strings count as what they are: the name of a file, or where a picture lies. In bytes.
const SHORT: usize = 1024;
/// Smaller prompts are not looked through for attachments without a picture's name: they have no room for one that makes a difference. In bytes.
const SMALL: usize = 8 * 1024;
/// What stands under these is read as text, however long it is.
const TEXTS: [&[u8]; 8] = [
    b"content",
    b"text",
    b"arguments",
    b"refusal",
    b"reasoning",
    b"reasoning_content",
    b"name",
    b"input",
];
/// An attachment stands under these.
const ATTACHMENTS: [&[u8]; 5] = [b"image_url", b"input_audio", b"file", b"video_url", b"audio_url"];
static PICTURE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""image_url""#));

/// Bytes of text that a prompt, which must be JSON, counts as.
pub(super) fn weight(prompt: &str) -> usize {
    let bytes = prompt.as_bytes();
    // Most prompts are short, and the word alone is found many times faster than strings are read.
    if bytes.len() <= SMALL && PICTURE.find(bytes).is_none() {
        return bytes.len();
    }
    weighed(bytes).unwrap_or(bytes.len())
}

fn weighed(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut weight) = (0, bytes.len());
    let mut is_text = true;
    // The attachment whose data may follow has been counted.
    let mut is_counted = false;
    while let Some(quote) = memchr::memchr(b'"', &bytes[at..]) {
        let start = at + quote + 1;
        let end = end_of_string(bytes, start)?;
        let string = &bytes[start..end];
        at = end + 1;
        let after = bytes[at..].iter().find(|byte| !byte.is_ascii_whitespace());
        if after == Some(&b':') {
            is_text = TEXTS.contains(&string);
            if ATTACHMENTS.contains(&string) {
                weight += ATTACHMENT;
                is_counted = true;
            }
        } else if !is_text && string.len() > SHORT {
            weight -= string.len();
            if !std::mem::take(&mut is_counted) {
                weight += ATTACHMENT;
            }
        }
    }
    Some(weight)
}

/// Where the string ends that begins at `start`: at its closing quote.
fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += quote_or_escape(bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::{ATTACHMENT, SMALL, weight};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn of(content: &Value) -> usize {
        weight(&json!([{"role": "user", "content": content}]).to_string())
    }

    #[test]
    fn an_attachment_counts_the_same_whatever_its_size() {
        let data = |bytes: usize| "A".repeat(bytes);
        let parts = |bytes: usize| {
            [
                json!({"type": "image_url", "image_url": {"url": format!("data:image/jpeg;base64,{}", data(bytes))}}),
                json!({"type": "image_url", "image_url": format!("data:image/jpeg;base64,{}", data(bytes))}),
                json!({"type": "input_audio", "input_audio": {"format": "wav", "data": data(bytes)}}),
                json!({"type": "file", "file": {"filename": "a.pdf", "file_data": format!("data:application/pdf;base64,{}", data(bytes))}}),
                json!({"type": "image", "source": {"type": "base64", "data": data(bytes)}}),
            ]
        };
        for (small, large) in parts(SMALL).into_iter().zip(parts(2_500_000)) {
            let (small, large) = (of(&json!([small])), of(&json!([large])));
            assert_eq!(small, large);
            assert!((ATTACHMENT..ATTACHMENT + 200).contains(&large), "{large}");
        }
        let two = of(&json!([parts(50_000)[0], {"type": "text", "text": "and"}, parts(50_000)[2]]));
        assert!((2 * ATTACHMENT..2 * ATTACHMENT + 400).contains(&two), "{two}");
        let elsewhere = json!({"type": "image_url", "image_url": {"url": "https://example.org/a.jpg"}});
        assert!(of(&json!([elsewhere])) > ATTACHMENT);
        // As Ollama has them.
        let images = json!([{"role": "user", "content": "Hi", "images": [data(9_000), data(9_000)]}]);
        assert!((2 * ATTACHMENT..2 * ATTACHMENT + 100).contains(&weight(&images.to_string())));
    }

    #[test]
    fn text_counts_by_its_bytes() {
        for text in [
            "x".repeat(4_000),
            "A \"quoted\" \\ text. ".repeat(400),
            "data:image/png;base64,AAAA".repeat(100),
        ] {
            let prompt = json!([{"role": "user", "content": text}, {"role": "user", "content": [{"type": "text", "text": text}]}]);
            let prompt = prompt.to_string();
            assert_eq!(weight(&prompt), prompt.len());
            let input = json!([text, text]).to_string();
            assert_eq!(weight(&input), input.len());
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in "[\\[\\]{}\":,\\\\a-z ]{0,60}", more in "[\\[\\]{}\":,\\\\a-z ]{0,60}") {
            let _ = weight(&format!("{bytes}\"image_url\":\"{}{more}", "A".repeat(2_000)));
        }
    }
}
