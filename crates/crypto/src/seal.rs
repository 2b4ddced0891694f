//! Sealing what is left with somebody who is not trusted with it: a cache that all instances share.
//!
//! ```text
//! key's mark (4) | nonce (12) | ciphertext | tag (16)
//! ```
//!
//! AES-256-GCM-SIV (RFC 8452) with a key derived from a signing secret by HKDF (RFC 5869): nonces are random, and a repeated
//! one would tell no more than that two texts are the same.

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand,
};
use secrecy::{ExposeSecret as _, SecretString};

const MARK: usize = 4;
const HEAD: usize = MARK + NONCE_LEN;

/// Seals with the first of its keys, and opens with any, so that secrets can be exchanged while sealed things lie about.
pub struct Sealer {
    keys: Vec<Key>,
}

struct Key {
    mark: [u8; MARK],
    key: LessSafeKey,
}

/// What has not been sealed by us for this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    /// Of a secret that is not ours, or ours no more.
    #[error("sealed with an unknown key")]
    UnknownKey,
    /// Changed, moved here from another place, or never sealed.
    #[error("the seal is broken")]
    Broken,
}

/// A key's mark is derived as the key is.
struct MarkLength;

impl KeyType for MarkLength {
    fn len(&self) -> usize {
        MARK
    }
}

impl Sealer {
    /// The first secret seals, all open. `purpose` keeps keys of different uses apart.
    ///
    /// # Errors
    ///
    /// If the library refuses, which it does for no input of these lengths.
    pub fn new<'a>(purpose: &str, secrets: impl IntoIterator<Item = &'a SecretString>) -> Result<Self, Unspecified> {
        let keys = secrets.into_iter().map(|secret| {
            let root = Salt::new(HKDF_SHA256, purpose.as_bytes()).extract(secret.expose_secret().as_bytes());
            let mut mark = [0; MARK];
            root.expand(&[b"mark"], MarkLength)?.fill(&mut mark)?;
            let key = LessSafeKey::new(UnboundKey::from(root.expand(&[b"seal"], &AES_256_GCM_SIV)?));
            Ok(Key { mark, key })
        });
        Ok(Self {
            keys: keys.collect::<Result<_, Unspecified>>()?,
        })
    }

    /// Appends the sealed `text` to `out`. `place` is not in it, and must be the same when it is opened. Nothing where there is
    /// no key or no randomness.
    pub fn seal(&self, place: &[u8], mut text: Vec<u8>, out: &mut Vec<u8>) -> Option<()> {
        let key = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let sealing = Nonce::assume_unique_for_key(nonce);
        key.key
            .seal_in_place_append_tag(sealing, Aad::from(place), &mut text)
            .ok()?;
        out.extend_from_slice(&key.mark);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&text);
        Some(())
    }

    /// What was sealed for `place`.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealed> {
        let (head, text) = sealed.split_at_checked(HEAD).ok_or(Unsealed::Broken)?;
        let (mark, nonce) = head.split_at(MARK);
        let candidates: Vec<_> = self.keys.iter().filter(|key| key.mark == mark).collect();
        if candidates.is_empty() {
            return Err(Unsealed::UnknownKey);
        }
        for key in candidates {
            let Ok(nonce) = Nonce::try_assume_unique_for_key(nonce) else {
                continue;
            };
            let mut opened = text.to_vec();
            if let Ok(text) = key.key.open_in_place(nonce, Aad::from(place), &mut opened) {
                let length = text.len();
                opened.truncate(length);
                return Ok(opened);
            }
        }
        Err(Unsealed::Broken)
    }
}

#[cfg(test)]
mod tests {
    use super::{Sealer, Unsealed};
    use proptest::prelude::*;
    use secrecy::SecretString;

    fn sealer(secrets: &[&str]) -> Sealer {
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| secret.repeat(32).into()).collect();
        Sealer::new("tests", &secrets).unwrap()
    }

    fn sealed(sealer: &Sealer, place: &[u8], text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        sealer.seal(place, text.to_vec(), &mut out).unwrap();
        out
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened_in_its_place_alone(text in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let sealer = sealer(&["a"]);
            let mut bytes = sealed(&sealer, b"here", &text);
            prop_assert_eq!(sealer.open(b"here", &bytes), Ok(text));
            prop_assert_eq!(sealer.open(b"there", &bytes), Err(Unsealed::Broken));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(sealer.open(b"here", &bytes).is_err());
        }

        #[test]
        fn junk_opens_nothing(junk in any::<Vec<u8>>()) {
            prop_assert!(sealer(&["a"]).open(b"here", &junk).is_err());
        }
    }

    #[test]
    fn secrets_are_exchanged_and_purposes_kept_apart() {
        let (old, both, new) = (sealer(&["a"]), sealer(&["b", "a"]), sealer(&["b"]));
        let before = sealed(&old, b"x", b"text");
        assert_eq!(both.open(b"x", &before), Ok(b"text".to_vec()));
        assert_eq!(new.open(b"x", &before), Err(Unsealed::UnknownKey));
        let after = sealed(&both, b"x", b"text");
        assert_eq!(new.open(b"x", &after), Ok(b"text".to_vec()));
        assert_ne!(after, sealed(&both, b"x", b"text"), "each has a nonce of its own");
        let other = Sealer::new("other", &[SecretString::from("a".repeat(32))]).unwrap();
        assert_eq!(other.open(b"x", &before), Err(Unsealed::UnknownKey));
    }
}
