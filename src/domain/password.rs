//! What a password must be before it is hashed.

/// Why a password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    #[error("must have at least {0} characters")]
    TooShort(usize),
    #[error("must have at most 256 characters")]
    TooLong,
    #[error("must not be built on the account's own e-mail address or name")]
    ContainsAccount,
    #[error("must have at least 5 different characters")]
    TooUniform,
    #[error("is one of the passwords that are guessed first")]
    Common,
}

/// NIST SP 800-63B: length over composition rules, and no commonly guessed value. The upper bound keeps the hash from
/// being a way to burn the server's time.
const LONGEST: usize = 256;

/// The stems that head every published list of leaked passwords; a password that is a stem plus digits or marks is as weak.
const STEMS: &[&str] = &[
    "password",
    "passw0rd",
    "qwerty",
    "qwertyuiop",
    "asdfghjkl",
    "iloveyou",
    "letmein",
    "welcome",
    "administrator",
    "admin",
    "abc",
    "monkey",
    "dragon",
    "football",
    "baseball",
    "sunshine",
    "princess",
    "trustno",
    "changeme",
    "secret",
];

/// Checks `password` for the account `email` (folded) of `name`.
pub fn check(password: &str, min_length: usize, email: &str, name: &str) -> Result<(), WeakPassword> {
    let length = password.chars().count();
    if length < min_length {
        return Err(WeakPassword::TooShort(min_length));
    }
    if length > LONGEST {
        return Err(WeakPassword::TooLong);
    }
    let folded = password.to_lowercase();
    let local = email.split('@').next().unwrap_or_default();
    let name = name.to_lowercase();
    if folded.contains(email) || is_mostly(&folded, local) || is_mostly(&folded, &name) {
        return Err(WeakPassword::ContainsAccount);
    }
    let mut distinct: Vec<char> = folded.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < 5 {
        return Err(WeakPassword::TooUniform);
    }
    let core = folded.trim_matches(|c: char| !c.is_alphabetic());
    if core.is_empty() && is_sequence(&folded) || STEMS.contains(&core) {
        return Err(WeakPassword::Common);
    }
    Ok(())
}

/// `part` makes up more than half of `whole`.
fn is_mostly(whole: &str, part: &str) -> bool {
    part.len() >= 3 && whole.contains(part) && part.len() * 2 > whole.len()
}

/// Digits that only count up or down, such as `123456789012`.
fn is_sequence(text: &str) -> bool {
    text.as_bytes()
        .windows(2)
        .all(|pair| matches!(pair[1].wrapping_sub(pair[0]), 1 | 255) || pair == b"90" || pair == b"09")
}

#[cfg(test)]
mod tests {
    use super::{WeakPassword, check};

    #[test]
    fn refuses_what_is_guessed_first() {
        let of = |password: &str| check(password, 12, "ada@example.com", "Ada Lovelace");
        assert_eq!(of("short"), Err(WeakPassword::TooShort(12)));
        assert_eq!(of(&"ab1!".repeat(65)), Err(WeakPassword::TooLong));
        assert_eq!(of("ada@example.com!"), Err(WeakPassword::ContainsAccount));
        assert_eq!(of("Ada Lovelace 99!"), Err(WeakPassword::ContainsAccount));
        assert_eq!(of("aaaaaaaaaaaaaa"), Err(WeakPassword::TooUniform));
        assert_eq!(of("Password12345!"), Err(WeakPassword::Common));
        assert_eq!(of("123456789012"), Err(WeakPassword::Common));
        assert_eq!(of("correct horse battery"), Ok(()));
        assert_eq!(of("дом-на-краю-леса"), Ok(()));
    }
}
