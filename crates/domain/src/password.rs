//! What a password must be before it is hashed.

mod guessing;
mod leaked;

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfkc};

/// Why a password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    #[error("must have at least {0} characters")]
    TooShort(usize),
    #[error("must have at most 256 characters")]
    TooLong,
    #[error("must not be built on the account's own e-mail address, name or organisation")]
    ContainsAccount,
    #[error("must have at least 5 different characters")]
    TooUniform,
    #[error("is one of the passwords that are guessed first: it leaked elsewhere, or is built of few common parts")]
    Common,
}

/// NIST SP 800-63B: length over composition rules, and no commonly guessed value. The upper bound keeps the hash from
/// being a way to burn the server's time.
const MAX_LENGTH: usize = 256;

/// What anybody tries first at this service.
const SITE_WORDS: [&str; 4] = ["mapleai", "maple", "leaf", "chat"];

/// Whose password it is: what an attacker knows of them. Absent parts are empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Account<'a> {
    pub email: &'a str,
    pub name: &'a str,
    pub organization: &'a str,
}

/// The same password typed on another keyboard is the same (NIST SP 800-63B 3.1.1.2): macOS sends letters and their accents
/// apart, others as one.
pub fn normalize(password: &str) -> Cow<'_, str> {
    if is_nfkc(password) {
        password.into()
    } else {
        password.nfkc().collect::<String>().into()
    }
}

/// Checks `password` for an account.
pub fn check(password: &str, min_length: usize, account: Account<'_>) -> Result<(), WeakPassword> {
    // Before the first look at its contents, whose cost grows with it; normalising makes it at most some times longer.
    if password.chars().count() > MAX_LENGTH {
        return Err(WeakPassword::TooLong);
    }
    let password = normalize(password);
    let length = password.chars().count();
    if length < min_length {
        return Err(WeakPassword::TooShort(min_length));
    }
    if length > MAX_LENGTH {
        return Err(WeakPassword::TooLong);
    }
    let folded = password.to_lowercase();
    let own = [account.email, account.name, account.organization].map(str::to_lowercase);
    let [email, name, organization] = &own;
    let local = email.split('@').next().unwrap_or_default();
    if !email.is_empty() && folded.contains(email)
        || [local, name, organization]
            .into_iter()
            .any(|part| is_mostly(&folded, part))
    {
        return Err(WeakPassword::ContainsAccount);
    }
    let mut distinct: Vec<char> = folded.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < 5 {
        return Err(WeakPassword::TooUniform);
    }
    let words: Vec<&str> = own
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric()))
        .filter(|word| word.chars().count() >= 3)
        .chain(SITE_WORDS)
        .collect();
    if variants(&folded).any(leaked::is_leaked) || guessing::is_guessable(&password, &words) {
        return Err(WeakPassword::Common);
    }
    Ok(())
}

/// What may have leaked of it: the whole; without digits and marks around it; one part of what is repeated.
fn variants(password: &str) -> impl Iterator<Item = &str> {
    let core = password.trim_matches(|c: char| !c.is_alphabetic());
    [password, core, unit(password), unit(core)].into_iter()
}

/// The shortest text that this is a repetition of.
fn unit(text: &str) -> &str {
    text.char_indices()
        .map(|(at, _)| at)
        .skip(1)
        .find(|at| {
            text.len().is_multiple_of(*at) && text.get(..*at).is_some_and(|part| part.repeat(text.len() / at) == text)
        })
        .and_then(|at| text.get(..at))
        .unwrap_or(text)
}

/// `part` makes up more than half of `whole`.
fn is_mostly(whole: &str, part: &str) -> bool {
    part.len() >= 3 && whole.contains(part) && part.len() * 2 > whole.len()
}

#[cfg(test)]
mod tests {
    use super::{Account, WeakPassword, check, normalize, unit};
    use proptest::prelude::*;

    const ADA: Account<'static> = Account {
        email: "ada@example.com",
        name: "Ada Lovelace",
        organization: "Analytical Engines",
    };

    #[test]
    fn refuses_what_is_guessed_first() {
        let of = |password: &str| check(password, 12, ADA);
        assert_eq!(of("short"), Err(WeakPassword::TooShort(12)));
        assert_eq!(of(&"ab1!".repeat(65)), Err(WeakPassword::TooLong));
        assert_eq!(of("ada@example.com!"), Err(WeakPassword::ContainsAccount));
        assert_eq!(of("Ada Lovelace 99!"), Err(WeakPassword::ContainsAccount));
        assert_eq!(of("analytical engines"), Err(WeakPassword::ContainsAccount));
        assert_eq!(of("aaaaaaaaaaaaaa"), Err(WeakPassword::TooUniform));
    }

    #[test]
    fn refuses_leaked_repeated_and_substituted_ones() {
        for weak in [
            "Password12345!",
            "123456789012",
            "1q2w3e4r5t6y",
            "1qaz2wsx3edc",
            "zaq12wsxcde3",
            "!QAZ2wsx#EDC4rfv",
            "passwordpassword",
            "P@ssw0rd1234",
            "P@$$w0rd!2024",
            "password1password2",
            "adminadmin123",
            "abc123abc123",
            "iloveyouiloveyou",
            "asdfasdfasdf1",
            "superman12345",
            "test12345678",
            "mapleai12345",
            "MapleAI-2026!!",
            "Summer2026!!",
            "maple-demo-password",
            "MyPassword2026!",
            "drowssapdrowssap",
            "qwerty qwerty qwerty",
            "lovelace-lovelace1",
            "aaaaabbbbbcccccdddddeeeee",
        ] {
            assert_eq!(check(weak, 12, ADA), Err(WeakPassword::Common), "{weak}");
        }
    }

    #[test]
    fn takes_what_is_long_and_of_ones_own() {
        for good in [
            "correct horse battery",
            "another horse, another battery",
            "a phrase of her own choice",
            "purple-tiger-lamp-42",
            "x7#kQ9!mZp2L",
            "дом-на-краю-леса",
            "Zürich-Öl-2024",
            "海は広いな大きいな、月は昇るし",
        ] {
            assert_eq!(check(good, 12, ADA), Ok(()), "{good}");
        }
        assert_eq!(check("correct horse battery", 12, Account::default()), Ok(()));
    }

    #[test]
    fn composed_and_decomposed_letters_are_one_password() {
        assert_eq!(normalize("Zu\u{308}rich-O\u{308}l"), normalize("Zürich-Öl"));
        assert_eq!(normalize("ｐａｓｓ"), "pass");
        assert_eq!(
            check("O\u{308}O\u{308}O\u{308}O\u{308}O\u{308}O\u{308}", 12, ADA),
            Err(WeakPassword::TooShort(12))
        );
    }

    #[test]
    fn the_unit_of_a_repetition_is_found() {
        assert_eq!(unit("abcabcabc"), "abc");
        assert_eq!(unit("öäöä"), "öä");
        assert_eq!(unit("abcab"), "abcab");
        assert_eq!(unit(""), "");
    }

    proptest! {
        #[test]
        fn never_panics_and_normalising_twice_changes_nothing(text in "\\PC{0,80}", name in "\\PC{0,20}") {
            let _ = check(&text, 8, Account { email: "a@b.example", name: &name, organization: &name });
            let once = normalize(&text).into_owned();
            prop_assert_eq!(normalize(&once), once.as_str());
        }
    }
}
