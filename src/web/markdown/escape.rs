//! Text as it may stand in HTML, and which addresses a model may send people to.

use std::fmt::Write;

/// Text, in an element or a quoted attribute.
pub fn escape(html: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'', '\0']) {
        html.push_str(&rest[..at]);
        html.push_str(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => "\u{fffd}",
        });
        rest = &rest[at + 1..];
    }
    html.push_str(rest);
}

/// An address in a quoted attribute: also without what parsers of addresses drop or turn round.
pub fn escape_url(html: &mut String, url: &str) {
    for letter in url.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '\'' => html.push_str("&#39;"),
            '"' | '<' | '>' | '\\' | '`' | '{' | '}' | '|' | '^' | ' ' | '\0'..='\x1f' | '\x7f' => {
                // Writing to a string does not fail.
                let _ = write!(html, "%{:02X}", letter as u32);
            }
            letter => html.push(letter),
        }
    }
}

/// Whether an address leads out of the service, by a scheme that does nothing else. `https:x` without its strokes would lead
/// into it.
pub fn is_safe_url(url: &str) -> bool {
    ["http://", "https://", "mailto:"].iter().any(|scheme| {
        url.as_bytes()
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    })
}
