//! Anti-forgery tokens for the page: an HMAC of the session's cookie, so nothing needs to be stored.
//!
//! OWASP's "signed double submit": another site can make a browser send the cookie, but cannot read the page that
//! carries this token.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

/// Signs and checks anti-forgery tokens.
#[derive(Clone)]
pub struct CsrfSigner {
    keys: Vec<hmac::Key>,
}

impl CsrfSigner {
    /// The first secret signs, all verify, so that the key can be rotated under open pages.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let derive = |secret: &SecretString| {
            let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
            // A key of its own: a token of one purpose must never verify for another.
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, b"mapleai csrf v1").as_ref())
        };
        Self {
            keys: secrets.into_iter().map(derive).collect(),
        }
    }

    pub fn token(&self, cookie: &str) -> String {
        self.keys.first().map_or_else(String::new, |key| {
            URL_SAFE_NO_PAD.encode(hmac::sign(key, cookie.as_bytes()))
        })
    }

    pub fn verify(&self, cookie: &str, token: &str) -> bool {
        let Ok(tag) = URL_SAFE_NO_PAD.decode(token) else {
            return false;
        };
        self.keys
            .iter()
            .any(|key| hmac::verify(key, cookie.as_bytes(), &tag).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::CsrfSigner;

    #[test]
    fn a_token_belongs_to_one_cookie_and_survives_rotation() {
        let (old, new) = ("a".repeat(32).into(), "b".repeat(32).into());
        let before = CsrfSigner::new([&old]);
        let after = CsrfSigner::new([&new, &old]);
        let token = before.token("ms_x");
        assert!(after.verify("ms_x", &token));
        assert!(!after.verify("ms_y", &token));
        assert!(!after.verify("ms_x", ""));
        assert!(!CsrfSigner::new([&new]).verify("ms_x", &token));
    }
}
