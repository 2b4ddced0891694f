//! Passwords that leaked often: a Bloom filter, made by `scripts/dev/leaked_passwords.py`, which says from what. A filter may
//! take a good password for a leaked one, some seven in a hundred thousand, and never the other way about.

/// Bits of the filter, least significant first.
static FILTER: &[u8] = include_bytes!("leaked.bloom");
/// Places looked at, as many as the script sets.
const HASHES: u64 = 14;
/// Shorter ones are not in it.
const MIN_LENGTH: usize = 10;

/// Whether this leaked, in whatever case and with whatever substitutions.
pub(super) fn is_leaked(password: &str) -> bool {
    let undone: String = password.chars().flat_map(char::to_lowercase).map(undo).collect();
    undone.chars().count() >= MIN_LENGTH && contains(undone.as_bytes())
}

/// The letter that a digit or mark is often put for.
pub(super) fn undo(mark: char) -> char {
    match mark {
        '@' | '4' => 'a',
        '3' => 'e',
        '1' | '!' => 'i',
        '0' => 'o',
        '$' | '5' => 's',
        '7' => 't',
        other => other,
    }
}

fn contains(entry: &[u8]) -> bool {
    let Some(bits) = u64::try_from(FILTER.len())
        .ok()
        .filter(|bytes| *bytes > 0)
        .map(|bytes| bytes * 8)
    else {
        return false;
    };
    let first = mix(fnv1a(entry));
    let step = mix(first ^ 0x9E37_79B9_7F4A_7C15) | 1;
    (0..HASHES).all(|n| {
        let at = first.wrapping_add(n.wrapping_mul(step)) % bits;
        usize::try_from(at / 8).is_ok_and(|byte| FILTER[byte] >> (at % 8) & 1 == 1)
    })
}

/// FNV-1a. Nothing secret is told by it, and who can choose an entry that is in the filter only refuses it to themselves.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |value, byte| {
        (value ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::is_leaked;

    #[test]
    fn what_leaked_is_known_in_any_case_and_writing() {
        for leaked in [
            "1q2w3e4r5t6y",
            "1QAZ2WSX3edc",
            "zaq12wsxcde3",
            "passwordpassword",
            "p@ssw0rdpassword",
            "abc123abc123",
        ] {
            assert!(is_leaked(leaked), "{leaked}");
        }
    }

    #[test]
    fn hardly_anything_else_is() {
        let leaked = (0..10_000_u32)
            .filter(|n| is_leaked(&format!("{:x}-of-nobody", n.wrapping_mul(2_654_435_761))))
            .count();
        assert!(leaked < 10, "{leaked} of 10,000");
        assert!(!is_leaked("") && !is_leaked("correct horse battery"));
    }
}
