//! E-mail addresses as account names.

/// A syntactically plausible address, kept as typed and compared without case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

/// Why a text is no address we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address such as name@example.com, at most 254 characters")]
pub struct InvalidEmail;

impl Email {
    /// Accepts what can be delivered to in practice (RFC 5321 4.5.3.1: 254 octets in all, 64 before the `@`); proof of
    /// ownership would take a message, which is not this type's business.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@').ok_or(InvalidEmail)?;
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[],;:\\\"@".contains(c);
        let domain_ok = domain.split('.').count() >= 2
            && domain.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            });
        if text.len() > 254 || local.is_empty() || local.len() > 64 || !local.chars().all(plain) || !domain_ok {
            return Err(InvalidEmail);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that is unique in the database and that throttles are keyed by.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
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
        ] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
        assert!(Email::parse(&format!("{}@example.com", "a".repeat(65))).is_err());
    }

    proptest! {
        #[test]
        fn never_panics_and_never_keeps_white_space(text in ".{0,300}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert!(!email.as_str().chars().any(char::is_whitespace));
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email.clone()));
            }
        }
    }
}
