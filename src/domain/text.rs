//! Bounded text that people type: names and titles.

/// Why a text is refused; `limit` is in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {limit} characters")]
    TooLong { limit: usize },
    #[error("must not contain control characters")]
    Control,
}

/// Trims and checks a one-line text.
pub fn line(text: &str, limit: usize) -> Result<String, InvalidText> {
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
