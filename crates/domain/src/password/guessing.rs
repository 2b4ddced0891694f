//! How many guesses a password takes, by zxcvbn: it knows words, names, keyboards, dates, repetition and substitutions, and what
//! is built of them.

use zxcvbn::zxcvbn;

/// A power of ten. An attacker who has the hashes makes some 10^4 guesses a second and core at the default cost of argon2id, so
/// that this takes days for one password. Three words that have nothing to do with each other are far beyond.
const MIN_GUESSES_LOG10: f64 = 9.0;
/// Characters that are looked at: the effort grows with the square, and what follows only adds to the guesses.
const LOOKED_AT: usize = 40;

/// Whether few enough guesses find it. `words` are those that an attacker tries first for this account.
pub(super) fn is_guessable(password: &str, words: &[&str]) -> bool {
    let start: String = password.chars().take(LOOKED_AT).collect();
    is_easy(&start, words)
        || is_easy(&unshifted(&start), words)
        || without_separators(&start).is_some_and(|joined| is_easy(&joined, words))
        || without_runs(&start).is_some_and(|short| is_easy(&short, words))
}

fn is_easy(password: &str, words: &[&str]) -> bool {
    zxcvbn(password, words).guesses_log10() < MIN_GUESSES_LOG10
}

/// As if the shift key had not been held on an American keyboard: `!QAZ2wsx` walks down it as `1qaz2wsx` does.
fn unshifted(text: &str) -> String {
    const SHIFTED: &str = "!@#$%^&*()";
    let digit = |c: char| SHIFTED.find(c).and_then(|at| "1234567890".chars().nth(at)).unwrap_or(c);
    text.chars().flat_map(char::to_lowercase).map(digit).collect()
}

/// A key that is held down types one letter. Nothing if no letter comes three times in a row.
fn without_runs(text: &str) -> Option<String> {
    let letters: Vec<char> = text.chars().collect();
    let is_run = |at: usize| {
        letters.get(at.wrapping_sub(1)) == letters.get(at) && letters.get(at.wrapping_sub(2)) == letters.get(at)
    };
    let has_runs = (2..letters.len()).any(is_run);
    has_runs.then(|| {
        let mut short = letters.clone();
        short.dedup();
        short.into_iter().collect()
    })
}

/// Words are not made better by what stands between them. Nothing if there are so many separators that they may be more.
fn without_separators(text: &str) -> Option<String> {
    let is_separator = |c: char| matches!(c, '-' | '_' | '.' | ' ' | '+' | '/');
    let count = text.chars().filter(|c| is_separator(*c)).count();
    (1..=3).contains(&count).then(|| text.replace(is_separator, ""))
}
