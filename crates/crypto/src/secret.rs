//! Random bearer secrets, and the digests that are stored in their place.

use aws_lc_rs::{digest, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use subtle::ConstantTimeEq;

/// Characters of base64url after the prefix, as many as before there were checksums: releases from before take them, too, while
/// both serve.
const SECRET_CHARS: usize = 43;
/// Of these, chosen by chance: 222 bits, beyond guessing, so that a plain SHA-256 of it is safe to store: there is no dictionary
/// to try.
const RANDOM_CHARS: usize = SECRET_CHARS - CHECKSUM_CHARS;
const RANDOM_BYTES: usize = 28;
/// A CRC32 of all that stands before it and [`MARK`], in base64url. It is no protection: it tells secrets from what merely looks
/// like one, to us without a look-up and to scanners of leaks without asking anybody.
const CHECKSUM_CHARS: usize = 6;
/// What is left of the last character beside the CRC32. There is none in 256 random bits, of which secrets without a checksum
/// consist: theirs ends in zeros.
const MARK: u8 = 0x10;
/// The last characters that have the mark.
const MARKED: &[u8; 4] = b"BRhx";

/// What a secret is for, told by its prefix; secret scanners and people recognise a leak by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    ApiKey,
    RefreshToken,
    Cookie,
    Invitation,
}

impl SecretKind {
    pub fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "mk_",
            Self::RefreshToken => "mr_",
            Self::Cookie => "ms_",
            Self::Invitation => "mi_",
        }
    }
}

/// SHA-256 of a secret.
pub type Digest = [u8; 32];

/// The system's random source failed; nothing can be issued.
#[derive(Debug, thiserror::Error)]
#[error("the system's random source failed")]
pub struct NoEntropy;

/// A new secret: prefix, 37 characters of base64url, and 6 that check them.
pub fn generate(kind: SecretKind) -> Result<String, NoEntropy> {
    let mut bytes = [0_u8; RANDOM_BYTES];
    rand::fill(&mut bytes).map_err(|_| NoEntropy)?;
    let mut text = String::with_capacity(kind.prefix().len() + SECRET_CHARS);
    text.push_str(kind.prefix());
    URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
    // The character beyond holds two bits and zeros.
    text.truncate(kind.prefix().len() + RANDOM_CHARS);
    let checksum = checksum(&text);
    text.extend(checksum.map(char::from));
    Ok(text)
}

/// A password for people to copy: 24 letters and digits that are not mistaken for each other, some 137 bits.
pub fn readable_password() -> Result<SecretString, NoEntropy> {
    const ALPHABET: &[u8; 54] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ3456789";
    let mut text = String::with_capacity(24);
    let mut byte = [0_u8];
    while text.len() < 24 {
        rand::fill(&mut byte).map_err(|_| NoEntropy)?;
        // Those beyond a multiple of the alphabet's length would make some letters likelier.
        if let Some(letter) = ALPHABET.get(usize::from(byte[0] % 64)) {
            text.push(char::from(*letter));
        }
    }
    Ok(text.into())
}

fn checksum(text: &str) -> [u8; CHECKSUM_CHARS] {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // As base64url has it: six bits a letter, from the first; the last two stand before four of the mark.
    let bits = u64::from(crc32fast::hash(text.as_bytes())) << 8 | u64::from(MARK);
    std::array::from_fn(|at| LETTERS[(bits >> (34 - 6 * at) & 0x3f) as usize])
}

/// The digest to store or look up, or `None` if the text cannot be a secret of this kind, which saves a look-up. Secrets from
/// before there were checksums have no mark and stay good.
pub fn digest_of(kind: SecretKind, text: &str) -> Option<Digest> {
    let body = text.strip_prefix(kind.prefix())?;
    if body.len() != SECRET_CHARS
        || !body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    {
        return None;
    }
    let (checked, sum) = text.split_at(text.len() - CHECKSUM_CHARS);
    let is_marked = body.bytes().last().is_some_and(|last| MARKED.contains(&last));
    if is_marked && checksum(checked) != sum.as_bytes() {
        return None;
    }
    Some(sha256(text.as_bytes()))
}

pub fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0_u8; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Compares without telling by its duration where two texts differ. Lengths are no secret: both sides are digested.
pub fn equal(a: &str, b: &str) -> bool {
    sha256(a.as_bytes()).ct_eq(&sha256(b.as_bytes())).into()
}

#[cfg(test)]
mod tests {
    use super::{SecretKind, digest_of, equal, generate};
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    #[test]
    fn a_secret_is_recognised_by_its_own_kind_only() {
        let key = generate(SecretKind::ApiKey).unwrap();
        // What the release before takes.
        assert_eq!(key.len(), 46);
        assert!(digest_of(SecretKind::ApiKey, &key).is_some());
        assert!(digest_of(SecretKind::Cookie, &key).is_none());
        assert_ne!(key, generate(SecretKind::ApiKey).unwrap());
        assert!(equal(&key, &key.clone()) && !equal(&key, "mk_"));
        // The example in the documents, checked there as anybody would check it.
        let example = format!("mk_{}", "A".repeat(37));
        assert_eq!(&super::checksum(&example), b"yANYbR");
    }

    proptest! {
        #[test]
        fn junk_is_no_secret(text in "\\PC{0,60}") {
            prop_assume!(!text.starts_with("mk_"));
            prop_assert!(digest_of(SecretKind::ApiKey, &text).is_none());
        }

        #[test]
        fn one_changed_character_is_seen_without_a_look_up(at in 3_usize..45) {
            let key = generate(SecretKind::ApiKey).unwrap();
            let mut other = key.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            prop_assert!(digest_of(SecretKind::ApiKey, &key).is_some());
            prop_assert!(digest_of(SecretKind::ApiKey, &other).is_none());
        }

        /// They were made before there were checksums, and nobody can tell one from another without a look-up.
        #[test]
        fn secrets_without_a_checksum_stay_good(bytes in any::<[u8; 32]>(), at in 3_usize..45) {
            let key = format!("mk_{}", URL_SAFE_NO_PAD.encode(bytes));
            let mut other = key.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            prop_assert!(digest_of(SecretKind::ApiKey, &key).is_some());
            prop_assert_ne!(digest_of(SecretKind::ApiKey, &key), digest_of(SecretKind::ApiKey, &other));
        }
    }
}
