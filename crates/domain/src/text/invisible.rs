//! Characters that are not seen, or that make others be seen where they are not. Two names that differ in them look alike
//! (Unicode Technical Report 36, 2.5 and 2.10).

use icu_properties::{CodePointSetData, props::DefaultIgnorableCodePoint};

/// Shows the character before it as a picture or as text.
fn is_variation_selector(c: char) -> bool {
    matches!(c, '\u{fe0e}' | '\u{fe0f}')
}

/// Joins letters, or keeps them apart, as Persian and the scripts of India need it, and puts pictures together.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Embedding, override, isolate and mark (Unicode Annex 9), of which some are not default-ignorable.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether this is seen as nothing, or turns what follows.
pub fn is_invisible(c: char) -> bool {
    !c.is_ascii() && (is_bidi_control(c) || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c))
}

/// Whether there is such a character where it is not part of what is seen.
pub fn is_in(text: &str) -> bool {
    !text.is_ascii() && marked(text).any(|(_, remove)| remove)
}

/// The text without them.
pub fn removed(text: &str) -> String {
    marked(text).filter(|(_, remove)| !remove).map(|(c, _)| c).collect()
}

/// Each character, and whether it is one too many.
fn marked(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut before = None;
    let mut rest = text.chars().peekable();
    std::iter::from_fn(move || {
        let c = rest.next()?;
        let belongs = if is_joiner(c) {
            before.is_some_and(may_join) && rest.peek().copied().is_some_and(may_join)
        } else {
            is_variation_selector(c) && before.is_some_and(|before: char| !before.is_alphabetic())
        };
        before = Some(c);
        Some((c, is_invisible(c) && !belongs))
    })
}

/// Beyond the scripts whose letters stand apart anyway: Latin, Greek, Cyrillic and Armenian.
fn may_join(c: char) -> bool {
    c >= '\u{590}' && !c.is_whitespace() && (!is_invisible(c) || is_variation_selector(c))
}
