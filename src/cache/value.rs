//! How a value is weighed, and how it is written for Redis.
//!
//! ```text
//! mark (1) | format (1) | schema (1) | flags (1) | epoch (8) | generation (8) | made, ms since 1970 (8) | expires (8) | payload
//! ```
//!
//! What does not read as this, has another schema, or was written in another epoch or generation, is a miss.

use bytes::{Buf, BufMut, Bytes};
use serde::{Serialize, de::DeserializeOwned};

const MARK: u8 = b'M';
const FORMAT: u8 = 1;
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

/// A value, or that there is none, ready for Redis.
pub(super) fn write<V: Value>(value: Option<&V>, stamp: Stamp) -> Vec<u8> {
    let payload = value.map(V::encode).unwrap_or_default();
    let packed = (payload.len() > COMPRESS_ABOVE)
        .then(|| zstd::bulk::compress(&payload, LEVEL).ok())
        .flatten()
        .filter(|packed| packed.len() < payload.len());
    let flags = if packed.is_some() { COMPRESSED } else { 0 } | if value.is_none() { ABSENT } else { 0 };
    let payload = packed.unwrap_or(payload);
    let mut out = Vec::with_capacity(HEAD + payload.len());
    out.put_slice(&[MARK, FORMAT, stamp.schema, flags]);
    out.put_u64_le(stamp.epoch);
    out.put_u64_le(stamp.generation);
    out.put_u64_le(stamp.made);
    out.put_u64_le(stamp.expires);
    out.put_slice(&payload);
    out
}

/// What was read: the value or its absence, when it was made and when it expires.
pub(super) struct Found<V> {
    pub(super) value: Option<V>,
    pub(super) made: u64,
    pub(super) expires: u64,
}

/// Reads what `write` wrote under the same schema, epoch and generation.
pub(super) fn read<V: Value>(bytes: &Bytes, epoch: u64, generation: u64) -> Option<Found<V>> {
    let mut head = bytes.get(..HEAD)?;
    let (mark, format, schema, flags) = (head.get_u8(), head.get_u8(), head.get_u8(), head.get_u8());
    if mark != MARK || format != FORMAT || schema != V::SCHEMA {
        return None;
    }
    if head.get_u64_le() != epoch || head.get_u64_le() != generation {
        return None;
    }
    let (made, expires) = (head.get_u64_le(), head.get_u64_le());
    let value = if flags & ABSENT != 0 {
        None
    } else {
        let payload = bytes.slice(HEAD..);
        let payload = if flags & COMPRESSED == 0 {
            payload
        } else {
            let size = zstd::zstd_safe::get_frame_content_size(&payload).ok()??;
            let size = usize::try_from(size).ok().filter(|size| *size <= LARGEST)?;
            Bytes::from(zstd::bulk::decompress(&payload, size).ok()?)
        };
        Some(V::decode(&payload)?)
    };
    Some(Found { value, made, expires })
}

#[cfg(test)]
mod tests {
    use super::{Stamp, Value, read, write};
    use bytes::Bytes;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn written_and_read_again(text in prop_oneof!["\\PC{0,40}", "[ab]{2000,3000}"], absent in any::<bool>()) {
            let value = (!absent).then_some(text);
            let bytes = Bytes::from(write(value.as_ref(), STAMP));
            let found = read::<String>(&bytes, 5, 7).unwrap();
            prop_assert_eq!(found.value, value.clone());
            prop_assert_eq!((found.made, found.expires), (11, 13));
            if value.is_some_and(|value| value.len() > 1999) {
                prop_assert!(bytes.len() < 1000, "not compressed: {}", bytes.len());
            }
            prop_assert!(read::<String>(&bytes, 6, 7).is_none());
            prop_assert!(read::<String>(&bytes, 5, 8).is_none());
            let mut other = bytes.to_vec();
            other[2] += 1;
            prop_assert!(read::<String>(&Bytes::from(other), 5, 7).is_none());
        }

        #[test]
        fn junk_is_a_miss(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..200_usize) {
            let _ = read::<String>(&Bytes::from(bytes.clone()), 5, 7);
            let mut damaged = write(Some(&"ab".repeat(2_000)), STAMP);
            let length = damaged.len();
            damaged[at % length] ^= 0x55;
            let _ = read::<String>(&Bytes::from(damaged), 5, 7);
        }
    }
}
