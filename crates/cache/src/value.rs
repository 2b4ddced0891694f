//! How a value is weighed, and how it is written for Redis.
//!
//! ```text
//! mark (1) | format (1) | schema (1) | flags (1) | epoch (8) | generation (8) | made, ms since 1970 (8) | expires (8) | sealed payload
//! ```
//!
//! What does not read as this, has another schema, or was written in another epoch or generation, is a miss. The payload is sealed
//! together with what stands before it and the name it is kept under ([`Sealer`]): who can write to Redis can neither
//! make an entry, nor read one, nor put one in the place of another. Old entries can be put back, for as long as they
//! would have lived.

use bytes::{Buf, BufMut, Bytes};
use serde::{Serialize, de::DeserializeOwned};

use crypto::seal::{Sealer, Unsealed};

const MARK: u8 = b'M';
/// 1 was not sealed: entries of a release before, which are a miss.
const FORMAT: u8 = 2;
const HEAD: usize = 36;
const COMPRESSED: u8 = 1;
const ABSENT: u8 = 2;
/// Payloads beyond this are compressed if that makes them smaller.
const COMPRESS_ABOVE: usize = 1024;
/// zstd's own default is 3; 1 is twice as fast for a few percent of size.
const LEVEL: i32 = 1;
/// What a payload may grow to when it is unpacked: a damaged entry must not take the memory of all.
const LARGEST: usize = 64 * 1024 * 1024;

/// Something that can be cached.
pub trait Value: Clone + Send + Sync + 'static {
    /// To be raised whenever the written form changes its meaning.
    const SCHEMA: u8;

    /// Bytes it takes in memory, beside its own size.
    fn weight(&self) -> usize;

    fn encode(&self) -> Vec<u8>;

    fn decode(bytes: &Bytes) -> Option<Self>;
}

/// The written form of most values. Nothing in them can fail to serialise.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// What stands before the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) schema: u8,
    pub(super) epoch: u64,
    pub(super) generation: u64,
    /// Milliseconds since 1970.
    pub(super) made: u64,
    pub(super) expires: u64,
}

/// A value, or that there is none, ready for Redis under `name`. Nothing if it cannot be sealed.
pub(super) fn write<V: Value>(value: Option<&V>, stamp: Stamp, name: &str, sealer: &Sealer) -> Option<Vec<u8>> {
    let payload = value.map(V::encode).unwrap_or_default();
    let packed = (payload.len() > COMPRESS_ABOVE)
        .then(|| zstd::bulk::compress(&payload, LEVEL).ok())
        .flatten()
        .filter(|packed| packed.len() < payload.len());
    let flags = if packed.is_some() { COMPRESSED } else { 0 } | if value.is_none() { ABSENT } else { 0 };
    let payload = packed.unwrap_or(payload);
    let mut out = Vec::with_capacity(HEAD + payload.len() + 32);
    out.put_slice(&[MARK, FORMAT, stamp.schema, flags]);
    out.put_u64_le(stamp.epoch);
    out.put_u64_le(stamp.generation);
    out.put_u64_le(stamp.made);
    out.put_u64_le(stamp.expires);
    let associated_data = associated_data(&out, name);
    sealer.seal(&associated_data, payload, &mut out)?;
    Some(out)
}

/// Associated data of the authenticated encryption.
fn associated_data(head: &[u8], name: &str) -> Vec<u8> {
    [head, name.as_bytes()].concat()
}

/// A decoded entry: the value or its absence, when it was made and when it expires.
pub(super) struct DecodedEntry<V> {
    pub(super) value: Option<V>,
    pub(super) made: u64,
    pub(super) expires: u64,
}

/// Why an entry in Redis is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Of another schema, epoch, generation or release, or sealed by a secret that has been exchanged.
    Outdated,
    /// Not written by this service under this key.
    Forged,
}

/// Reads what `write` wrote under the same name, schema, epoch and generation.
pub(super) fn read<V: Value>(
    bytes: &Bytes,
    epoch: u64,
    generation: u64,
    name: &str,
    sealer: &Sealer,
) -> Result<DecodedEntry<V>, Unfit> {
    let head = bytes.get(..HEAD).ok_or(Unfit::Forged)?;
    let mut rest = head;
    let (mark, format, schema, flags) = (rest.get_u8(), rest.get_u8(), rest.get_u8(), rest.get_u8());
    if mark != MARK {
        return Err(Unfit::Forged);
    }
    if format != FORMAT || schema != V::SCHEMA {
        return Err(Unfit::Outdated);
    }
    if rest.get_u64_le() != epoch || rest.get_u64_le() != generation {
        return Err(Unfit::Outdated);
    }
    let (made, expires) = (rest.get_u64_le(), rest.get_u64_le());
    let payload = sealer
        .open(&associated_data(head, name), &bytes[HEAD..])
        .map_err(|error| match error {
            Unsealed::UnknownKey => Unfit::Outdated,
            Unsealed::Broken => Unfit::Forged,
        })?;
    let value = if flags & ABSENT != 0 {
        None
    } else {
        let payload = if flags & COMPRESSED == 0 {
            Some(payload)
        } else {
            unpack(&payload)
        };
        // Sealed by us, so of a release that wrote it otherwise.
        let payload = payload.ok_or(Unfit::Outdated)?;
        Some(V::decode(&Bytes::from(payload)).ok_or(Unfit::Outdated)?)
    };
    Ok(DecodedEntry { value, made, expires })
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let size = zstd::zstd_safe::get_frame_content_size(packed).ok()??;
    let size = usize::try_from(size).ok().filter(|size| *size <= LARGEST)?;
    zstd::bulk::decompress(packed, size).ok()
}

#[cfg(test)]
mod tests {
    use super::{Stamp, Unfit, Value, read, write};
    use bytes::Bytes;
    use crypto::seal::Sealer;
    use proptest::prelude::*;
    use secrecy::SecretString;

    impl Value for String {
        const SCHEMA: u8 = 3;

        fn weight(&self) -> usize {
            self.len()
        }

        fn encode(&self) -> Vec<u8> {
            self.clone().into_bytes()
        }

        fn decode(bytes: &Bytes) -> Option<Self> {
            Self::from_utf8(bytes.to_vec()).ok()
        }
    }

    const STAMP: Stamp = Stamp {
        schema: 3,
        epoch: 5,
        generation: 7,
        made: 11,
        expires: 13,
    };

    const NAME: &str = "maple:{tenant}:text.3:hash";

    fn sealer(secret: &str) -> Sealer {
        Sealer::new("tests", &[SecretString::from(secret.repeat(32))]).unwrap()
    }

    fn written(value: Option<&String>) -> Bytes {
        write(value, STAMP, NAME, &sealer("a")).unwrap().into()
    }

    fn reason(bytes: &Bytes, epoch: u64, generation: u64, name: &str) -> Option<Unfit> {
        read::<String>(bytes, epoch, generation, name, &sealer("a")).err()
    }

    proptest! {
        #[test]
        fn written_and_read_again(text in prop_oneof!["\\PC{0,40}", "[ab]{2000,3000}"], absent in any::<bool>()) {
            let value = (!absent).then_some(text);
            let bytes = written(value.as_ref());
            let found = read::<String>(&bytes, 5, 7, NAME, &sealer("a")).ok().unwrap();
            prop_assert_eq!(found.value, value.clone());
            prop_assert_eq!((found.made, found.expires), (11, 13));
            if value.is_some_and(|value| value.len() > 1999) {
                prop_assert!(bytes.len() < 1000, "not compressed: {}", bytes.len());
            }
            prop_assert_eq!(reason(&bytes, 6, 7, NAME), Some(Unfit::Outdated));
            prop_assert_eq!(reason(&bytes, 5, 8, NAME), Some(Unfit::Outdated));
            let mut other = bytes.to_vec();
            other[2] += 1;
            prop_assert_eq!(reason(&other.into(), 5, 7, NAME), Some(Unfit::Outdated));
        }

        #[test]
        fn what_nobody_of_ours_wrote_here_is_not_taken(junk in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            prop_assert!(read::<String>(&Bytes::from(junk), 5, 7, NAME, &sealer("a")).is_err());
            let sound = written(Some(&"ab".repeat(2_000)));
            let mut changed = sound.to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            prop_assert!(read::<String>(&changed.into(), 5, 7, NAME, &sealer("a")).is_err());
        }
    }

    #[test]
    fn an_entry_changed_or_moved_is_forged_and_one_of_another_secret_outdated() {
        let bytes = written(Some(&"owner of the victim".to_owned()));
        assert!(!bytes.windows(5).any(|window| window == b"owner"), "readable");
        assert_eq!(
            reason(&bytes, 5, 7, "maple:{attacker}:text.3:hash"),
            Some(Unfit::Forged)
        );
        for at in [3, 20, 28, bytes.len() - 1] {
            // Flags, times and text.
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert_eq!(reason(&changed.into(), 5, 7, NAME), Some(Unfit::Forged), "byte {at}");
        }
        let other = read::<String>(&bytes, 5, 7, NAME, &sealer("b"));
        assert_eq!(other.err(), Some(Unfit::Outdated));
    }
}
