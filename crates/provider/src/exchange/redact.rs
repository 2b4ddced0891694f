//! What an upstream says of us in an error: keys and ids of ours, which are no business of the caller's.

use std::borrow::Cow;

use http::HeaderMap;

const REDACTED: &[u8] = b"[redacted]";
/// As much of a secret, from its beginning, is taken for a quotation of it, in bytes. A shorter secret is a word, such as
/// the name of a team in a header.
const MIN_QUOTED: usize = 8;
/// What comes behind a vendor's prefix before it is an id, in bytes.
const MIN_ID: usize = 6;

/// The values that are sent as secrets: the key, and headers from the configuration.
pub(super) fn secrets_of(headers: &HeaderMap) -> Vec<Box<[u8]>> {
    let sent = headers.values().filter(|value| value.is_sensitive());
    let bare = sent.map(|value| value.as_bytes().strip_prefix(b"Bearer ").unwrap_or(value.as_bytes()));
    bare.filter(|secret| secret.len() >= MIN_QUOTED)
        .map(Box::from)
        .collect()
}

/// The text without quotations of `secrets`, or of their beginnings, and without what looks like one of the vendor's ids, which begin
/// with one of `prefixes`. All other bytes stay.
pub(super) fn redact<'a>(text: &'a [u8], secrets: &[Box<[u8]>], prefixes: &[&[u8]]) -> Cow<'a, [u8]> {
    let mut out: Vec<u8> = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while at < text.len() {
        let is_inside = at > 0 && is_word(text[at - 1]);
        let length = quoted(&text[at..], secrets).max(if is_inside { 0 } else { id(&text[at..], prefixes) });
        if length == 0 {
            at += 1;
            continue;
        }
        out.extend_from_slice(&text[copied..at]);
        out.extend_from_slice(REDACTED);
        at += length;
        copied = at;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[copied..]);
    Cow::Owned(out)
}

/// How much of a secret the text begins with, if it is enough to be one.
fn quoted(text: &[u8], secrets: &[Box<[u8]>]) -> usize {
    let common = secrets.iter().map(|secret| {
        let pairs = secret.iter().zip(text);
        pairs.take_while(|(a, b)| a == b).count()
    });
    common.max().filter(|length| *length >= MIN_QUOTED).unwrap_or(0)
}

/// How long an id is that the text begins with. Words such as `org-specific` are none.
fn id(text: &[u8], prefixes: &[&[u8]]) -> usize {
    let Some(prefix) = prefixes.iter().find(|prefix| text.starts_with(prefix)) else {
        return 0;
    };
    let rest = &text[prefix.len()..];
    let length = rest.iter().position(|byte| !is_part(*byte)).unwrap_or(rest.len());
    // The end of a sentence is none of it.
    let length = rest[..length]
        .iter()
        .rposition(|byte| *byte != b'.')
        .map_or(0, |last| last + 1);
    let is_made_up = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'*';
    let is_id = length >= MIN_ID && rest[..length].iter().any(is_made_up);
    if is_id { prefix.len() + length } else { 0 }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn is_part(byte: u8) -> bool {
    is_word(byte) || byte == b'*' || byte == b'.'
}

#[cfg(test)]
mod tests {
    use super::redact;
    use proptest::prelude::*;
    use std::borrow::Cow;

    const PREFIXES: [&[u8]; 3] = [b"sk-", b"org-", b"proj_"];

    fn secrets() -> Vec<Box<[u8]>> {
        [&b"sk-upstream-secret"[..], b"gateway/key+of=ours"]
            .map(Box::from)
            .into()
    }

    fn redacted_text(text: &str) -> String {
        String::from_utf8(redact(text.as_bytes(), &secrets(), &PREFIXES).into_owned()).unwrap()
    }

    #[test]
    fn keys_and_ids_are_replaced_and_nothing_else() {
        for (text, expected) in [
            (
                "Incorrect API key provided: sk-proj-AbC1****wxyz.",
                "Incorrect API key provided: [redacted].",
            ),
            (
                "Rate limit in organization org-OPERATOR (key sk-proj-OPERATOR)",
                "Rate limit in organization [redacted] (key [redacted])",
            ),
            (r#"{"project":"proj_9f8e7d6c5b"}"#, r#"{"project":"[redacted]"}"#),
            ("you sent Bearer sk-upstream-secret", "you sent Bearer [redacted]"),
            ("you sent sk-upstr...", "you sent [redacted]..."),
            ("gateway/key+of=ours is unknown", "[redacted] is unknown"),
        ] {
            assert_eq!(redacted_text(text), expected);
        }
        for text in [
            "an org-wide limit, org-specific",
            "task-ABCDEFGH1 and disk-12345678",
            "gateway limit",
            "sk-learn",
            "sk-",
            "",
        ] {
            assert!(
                matches!(redact(text.as_bytes(), &secrets(), &PREFIXES), Cow::Borrowed(_)),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_secret_comes_through(before in "[ -~]{0,12}", after in "[ -~]{0,12}", which in 0_usize..2) {
            let secret = String::from_utf8(secrets()[which].to_vec()).unwrap();
            let redacted_text = redacted_text(&format!("{before}{secret}{after}"));
            prop_assert!(!redacted_text.contains(&secret), "{}", redacted_text);
        }

        #[test]
        fn any_bytes_are_read(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = redact(&text, &secrets(), &PREFIXES);
        }
    }
}
