//! Proof that an account has been signed in to on a device before, kept by the browser: so that those who guess at the account
//! from elsewhere do not keep its owner waiting. It signs nobody in. OWASP's "device cookies".

use aws_lc_rs::{hmac, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

use super::secret::NoEntropy;

/// Tells one device's proof from another's.
pub type DeviceId = [u8; 16];

/// A device, and who has signed in on it: accounts may share an address, and one of them must not vouch for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    pub id: DeviceId,
    pub user: [u8; 16],
}

const TAG_BYTES: usize = 32;
const TOKEN_BYTES: usize = 16 + 16 + 8 + TAG_BYTES;

/// Makes and checks proofs.
#[derive(Clone)]
pub struct DeviceSigner {
    keys: Vec<hmac::Key>,
}

impl DeviceSigner {
    /// The first secret signs, all verify, so that keys can be rotated under the devices.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let derive = |secret: &SecretString| {
            let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
            // A key of its own: a token of one purpose must never verify for another.
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, b"mapleai device v1").as_ref())
        };
        Self {
            keys: secrets.into_iter().map(derive).collect(),
        }
    }

    /// A proof that `user` has signed in by `address`, good until `expires_at`, in seconds since 1970.
    pub fn token(&self, address: &str, user: [u8; 16], expires_at: i64) -> Result<String, NoEntropy> {
        let mut id: DeviceId = [0; 16];
        rand::fill(&mut id).map_err(|_| NoEntropy)?;
        let key = self.keys.first().ok_or(NoEntropy)?;
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.extend_from_slice(&id);
        token.extend_from_slice(&user);
        token.extend_from_slice(&expires_at.to_be_bytes());
        token.extend_from_slice(hmac::sign(key, &signed(address, &token)).as_ref());
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// The device, if this is its proof for `address`, at `now` in seconds since 1970.
    pub fn verify(&self, address: &str, token: &str, now: i64) -> Option<Device> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        if token.len() != TOKEN_BYTES {
            return None;
        }
        let (payload, tag) = token.split_at(TOKEN_BYTES - TAG_BYTES);
        let signed = signed(address, payload);
        let is_ours = self.keys.iter().any(|key| hmac::verify(key, &signed, tag).is_ok());
        let (id, rest) = payload.split_at(16);
        let (user, expires_at) = rest.split_at(16);
        let expires_at = i64::from_be_bytes(expires_at.try_into().ok()?);
        if !is_ours || expires_at <= now {
            return None;
        }
        Some(Device {
            id: id.try_into().ok()?,
            user: user.try_into().ok()?,
        })
    }
}

/// The parts before the address are of one length, so that no two pairs sign the same bytes.
fn signed(address: &str, payload: &[u8]) -> Vec<u8> {
    [payload, address.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::DeviceSigner;
    use proptest::prelude::*;

    #[test]
    fn a_proof_is_for_one_account_for_a_time_and_survives_rotation() {
        let (old, new) = ("a".repeat(32).into(), "b".repeat(32).into());
        let before = DeviceSigner::new([&old]);
        let after = DeviceSigner::new([&new, &old]);
        let token = before.token("ada@maple.test", [7; 16], 100).unwrap();
        let device = after.verify("ada@maple.test", &token, 99);
        assert_eq!(device.map(|device| device.user), Some([7; 16]));
        assert_eq!(device, before.verify("ada@maple.test", &token, 99));
        assert!(after.verify("ada@maple.test", &token, 100).is_none());
        assert!(after.verify("eve@maple.test", &token, 99).is_none());
        assert!(DeviceSigner::new([&new]).verify("ada@maple.test", &token, 99).is_none());
        let other = before.token("ada@maple.test", [7; 16], 100).unwrap();
        assert_ne!(device, before.verify("ada@maple.test", &other, 99));
    }

    proptest! {
        #[test]
        fn junk_proves_nothing(token in "[A-Za-z0-9_-]{0,110}") {
            let secret = "a".repeat(32).into();
            prop_assert!(DeviceSigner::new([&secret]).verify("ada@maple.test", &token, 0).is_none());
        }
    }
}
