//! E-mail addresses as account names.

use caseless::default_case_fold_str;
use idna::{AsciiDenyList, domain_to_ascii_cow};
use unicode_normalization::UnicodeNormalization;

use super::text::invisible;

/// A syntactically plausible address, kept as typed and compared in the form that all spellings of it have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    typed: String,
    folded: String,
}

/// Why a text is no address we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address such as name@example.com, at most 254 characters, of which all are seen")]
pub struct InvalidEmail;

impl Email {
    /// Accepts what can be delivered to in practice (RFC 5321 4.5.3.1: 254 octets in all, 64 before the `@`); proof of
    /// ownership would take a message, which is not this type's business.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let typed: String = text.trim().nfc().take(MAX_LENGTH + 1).collect();
        if typed.len() > MAX_LENGTH || typed.chars().any(invisible::is_invisible) {
            return Err(InvalidEmail);
        }
        let (local, domain) = typed.rsplit_once('@').ok_or(InvalidEmail)?;
        let (local, domain) = (fold(local), ascii(domain)?);
        if !is_local_part(&local) || !is_domain(&domain) || local.len() + 1 + domain.len() > MAX_LENGTH {
            return Err(InvalidEmail);
        }
        let folded = format!("{local}@{domain}");
        Ok(Self { typed, folded })
    }

    pub fn as_str(&self) -> &str {
        &self.typed
    }

    /// The form that is unique in the database and that throttles are keyed by: the local part by compatibility and without case,
    /// the domain as the DNS knows it.
    pub fn folded(&self) -> String {
        self.folded.clone()
    }

    /// The form that releases before this one kept, in which an account may still be stored.
    pub fn folded_before(&self) -> String {
        self.typed.to_lowercase()
    }
}

/// Octets.
const MAX_LENGTH: usize = 254;

/// Compatibility forms and case do not tell people apart (Unicode 5.18, NFKC_Casefold without what is refused anyway).
fn fold(local: &str) -> String {
    let folded = default_case_fold_str(&local.nfkc().collect::<String>());
    folded.nfkc().collect()
}

/// The domain as it is looked up (Unicode Technical Standard 46).
fn ascii(domain: &str) -> Result<String, InvalidEmail> {
    let ascii = domain_to_ascii_cow(domain.as_bytes(), AsciiDenyList::STD3).map_err(|_| InvalidEmail)?;
    Ok(ascii.into_owned())
}

/// RFC 5321 4.1.2, without what has to be quoted: dots stand between others. Those that differ in one at the end would be
/// delivered to the same mailbox by some, and look alike to everybody.
fn is_local_part(local: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[],;:\\\"@".contains(c);
    local.len() <= 64 && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(plain))
}

fn is_domain(domain: &str) -> bool {
    domain.len() <= 253
        && domain.split('.').count() >= 2
        && domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::Email;
    use proptest::prelude::*;

    #[test]
    fn accepts_and_refuses() {
        for good in [
            "a@b.co",
            "Ada.Lovelace+x@sub.example.org",
            " ada@example.com ",
            "zoë@exämple.de",
        ] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b.co",
            "a@",
            "a@b",
            "a@b..co",
            "a b@c.de",
            "a@-b.co",
            "a@b.co\n<script>",
            "a@b@c.de",
            ".a@b.co",
            "a.@b.co",
            "a..b@c.de",
            "a\u{fe6b}b@c.de",
            "a＠b.co",
        ] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
        assert!(Email::parse(&format!("{}@example.com", "a".repeat(65))).is_err());
        assert!(Email::parse(&format!("a@{}.com", "a".repeat(64))).is_err());
    }

    #[test]
    fn one_address_has_one_form() {
        let folded = |text: &str| Email::parse(text).unwrap().folded();
        for same in [
            "JOSÉ@Exämple.DE",
            "jose\u{301}@exämple.de",
            "ｊｏｓé@exämple.de",
            "josé@xn--exmple-cua.de",
            "josé@exa\u{308}mple.de",
            "josé@ｅxämple。de",
        ] {
            assert_eq!(folded(same), "josé@xn--exmple-cua.de", "{same}");
        }
        assert_eq!(folded("STRASSE@a.de"), folded("straße@a.de"));
    }

    #[test]
    fn what_is_not_seen_is_refused() {
        for hidden in [
            '\u{200b}', '\u{2060}', '\u{feff}', '\u{ad}', '\u{202e}', '\u{200d}', '\u{fe0f}', '\u{2066}',
        ] {
            for text in [
                format!("a{hidden}da@example.com"),
                format!("{hidden}ada@example.com"),
                format!("ada@exam{hidden}ple.com"),
            ] {
                assert!(Email::parse(&text).is_err(), "{}", text.escape_unicode());
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_never_keeps_white_space(text in ".{0,300}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert!(!email.as_str().chars().any(char::is_whitespace));
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email.clone()));
            }
        }

        #[test]
        fn folding_twice_changes_nothing(local in "[\\PC&&[^@]]{1,12}", domain in "[a-zäöüßé]{1,8}\\.[a-z]{2,3}") {
            if let Ok(email) = Email::parse(&format!("{local}@{domain}")) {
                let again = Email::parse(&email.folded());
                prop_assert_eq!(again.map(|email| email.folded()), Ok(email.folded()));
            }
        }
    }
}
