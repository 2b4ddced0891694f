//! Bounded text that people type: names and titles.

pub mod invisible;

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark, is_nfc};

/// Why a text is refused; `limit` is in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {limit} characters")]
    TooLong { limit: usize },
    #[error("must not contain control characters")]
    Control,
    #[error("must not contain characters that are not seen or that turn the direction of writing")]
    Invisible,
}

/// Trims and checks a one-line text that others go by, such as a name. What is given has its letters composed, so that what
/// looks alike is alike.
pub fn line(text: &str, limit: usize) -> Result<String, InvalidText> {
    let text = bounded_line(text, limit)?;
    if invisible::is_in(&text) || !text.chars().any(is_seen) {
        return Err(InvalidText::Invisible);
    }
    Ok(if is_nfc(&text) { text } else { text.nfc().collect() })
}

/// Trims and checks a one-line text of one's own, such as a title. Characters that are not seen are taken out of it.
pub fn title(text: &str, limit: usize) -> Result<String, InvalidText> {
    bounded_line(&invisible::removed(text), limit)
}

fn bounded_line(text: &str, limit: usize) -> Result<String, InvalidText> {
    let text = text.trim();
    if text.is_empty() {
        return Err(InvalidText::Empty);
    }
    // PostgreSQL cannot store NUL, and a line break or an escape in a name only serves to mislead.
    if text.chars().any(char::is_control) {
        return Err(InvalidText::Control);
    }
    if text.chars().count() > limit {
        return Err(InvalidText::TooLong { limit });
    }
    Ok(text.to_owned())
}

/// Leaves ink: the blank of Braille patterns is a character of its own, and a mark needs something to stand on.
fn is_seen(c: char) -> bool {
    !c.is_whitespace() && !is_combining_mark(c) && c != '\u{2800}'
}

/// Checks a text of many lines, such as a message.
pub fn block(text: &str, limit: usize) -> Result<&str, InvalidText> {
    if text.trim().is_empty() {
        return Err(InvalidText::Empty);
    }
    if text.contains('\0') {
        return Err(InvalidText::Control);
    }
    if text.chars().count() > limit {
        return Err(InvalidText::TooLong { limit });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{InvalidText, line, title};

    #[test]
    fn names_are_seen_as_they_are() {
        for bad in [
            "\u{200b}\u{2060}\u{200d}",
            "\u{202e}gro.live",
            "Ada\u{ad}Lovelace",
            "Ada\u{200d}Lovelace",
            "\u{3164}",
            "\u{2800}\u{2800}",
            "\u{301}\u{301}",
            "Ada \u{2067}x\u{2069}",
            "Ada\u{e0041}",
        ] {
            assert_eq!(line(bad, 100), Err(InvalidText::Invisible), "{}", bad.escape_unicode());
        }
        for good in [
            "Ada Lovelace",
            "می\u{200c}خواهم",
            "👩\u{200d}💻 Team",
            "We ❤\u{fe0f} tea",
            "1\u{fe0f}\u{20e3}st",
            "אבג",
        ] {
            assert_eq!(line(good, 100).as_deref(), Ok(good));
        }
        assert_eq!(line(" Jose\u{301} ", 100).as_deref(), Ok("José"));
        assert_eq!(line("a\u{0}b", 100), Err(InvalidText::Control));
    }

    #[test]
    fn titles_lose_what_is_not_seen() {
        assert_eq!(title("\u{202e}A\u{200b} title", 100).as_deref(), Ok("A title"));
        assert_eq!(title("\u{200b}", 100), Err(InvalidText::Empty));
    }
}
