//! Reading JSON text where nothing has to be built from it.

use memchr::memchr2;

/// Words of eight bytes that are looked at before it pays to set vectors up: names and short values end within them.
const WORDS: usize = 4;

/// Where the text of a string ends, or its next escape begins: the first `"` or `\`.
#[inline]
pub fn quote_or_escape(text: &[u8]) -> Option<usize> {
    let (words, _) = text.as_chunks::<8>();
    let words = &words[..words.len().min(WORDS)];
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ repeated(b'"')) | zeros(word ^ repeated(b'\\'));
        if found != 0 {
            return Some(place * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let from = words.len() * 8;
    memchr2(b'"', b'\\', &text[from..]).map(|at| from + at)
}

const fn repeated(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The highest bit of each byte that is zero. Bytes above one that is may be marked too: only the lowest mark counts.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(repeated(1)) & !word & repeated(0x80)
}

#[cfg(test)]
mod tests {
    use super::quote_or_escape;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_a_plain_look_finds(text in prop::collection::vec(prop_oneof![
            40 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => Just(b'#'), 1 => Just(b'!'), 1 => Just(0)
        ], 0..80)) {
            for from in 0..text.len() {
                let rest = &text[from..];
                let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
                prop_assert_eq!(quote_or_escape(rest), plain);
            }
        }
    }
}
