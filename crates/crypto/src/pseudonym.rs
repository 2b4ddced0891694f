//! Names for what must not stand in a log, such as an address that somebody tried to sign in with: the same in all processes, so
//! that attempts can be counted, and of no use to whoever has the log alone.

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};

/// Keeps the digests apart from those of anti-forgery tokens, which are made with the same secret.
const CONTEXT: &[u8] = b"mapleai pseudonym v1";

#[derive(Clone)]
pub struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    pub fn new(secret: &SecretString) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        Self(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, CONTEXT).as_ref()))
    }

    /// 64 bits in hexadecimal: enough to tell apart what one log holds.
    pub fn of(&self, text: &str) -> String {
        let digest = hmac::sign(&self.0, text.as_bytes());
        hex::encode(digest.as_ref().get(..8).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Pseudonyms;

    #[test]
    fn a_pseudonym_depends_on_the_secret_and_on_nothing_else() {
        let (one, two) = (Pseudonyms::new(&"a secret".into()), Pseudonyms::new(&"another".into()));
        assert_eq!(one.of("ada@maple.test"), one.clone().of("ada@maple.test"));
        assert_ne!(one.of("ada@maple.test"), one.of("eve@maple.test"));
        assert_ne!(one.of("ada@maple.test"), two.of("ada@maple.test"));
        assert_eq!(one.of("").len(), 16);
    }
}
