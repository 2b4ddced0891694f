//! Keys: class, schema, tenant, then the parts.
//!
//! A key is the blake3 hash of its fields, each preceded by its length, so that no two lists of fields share a hash. It has
//! 256 bits: collisions happen neither by chance nor by search.

use std::{fmt::Write as _, hash::Hash};

use super::class::Class;
use domain::ids::OrganizationId;

/// The owner of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All entries of one organisation are on one shard of a cluster.
    Organization(OrganizationId),
    /// A credential before its owner is known. Its digest alone finds the entry.
    Credential,
}

/// The name of one entry.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    class: Class,
    schema: u8,
    scope: Scope,
    hash: [u8; 32],
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // A part of the hash is as good a hash as the whole.
        state.write_u64(self.word());
    }
}

/// Fields up to so many bytes in total are hashed in one go. Most keys are far shorter, and setting up an incremental
/// hasher costs more than hashing them.
const GATHERED: usize = 1024;

/// Room for the fields of most keys. In bytes.
const USUAL: usize = 512;

/// A key under construction.
pub struct KeyBuilder {
    class: Class,
    schema: u8,
    scope: Scope,
    /// Bytes that are not hashed yet.
    fields: Vec<u8>,
    /// Set once the fields exceed that buffer.
    hasher: Option<Box<blake3::Hasher>>,
}

impl KeyBuilder {
    /// `schema` is the version of the value's encoding: a new version makes new keys.
    pub fn new(class: Class, schema: u8, scope: Scope) -> Self {
        let mut builder = Self {
            class,
            schema,
            scope,
            fields: Vec::with_capacity(USUAL),
            hasher: None,
        };
        builder.add(class.as_str().as_bytes());
        builder.add(&[schema]);
        match scope {
            Scope::Organization(organization) => builder.add(organization.0.as_bytes()),
            Scope::Credential => builder.add(b"credential"),
        }
        builder
    }

    fn add(&mut self, field: &[u8]) {
        self.fields.extend_from_slice(&(field.len() as u64).to_le_bytes());
        if self.fields.len() + field.len() <= GATHERED {
            self.fields.extend_from_slice(field);
            return;
        }
        let hasher = self.hasher.get_or_insert_default();
        hasher.update(&self.fields);
        hasher.update(field);
        self.fields.clear();
    }

    /// Adds a part. Parts are distinguished by position, so every key of a class has the same number of them.
    #[must_use]
    pub fn field(mut self, field: impl AsRef<[u8]>) -> Self {
        self.add(field.as_ref());
        self
    }

    pub fn build(self) -> Key {
        let hash = match self.hasher {
            None => blake3::hash(&self.fields),
            Some(mut hasher) => hasher.update(&self.fields).finalize(),
        };
        Key {
            class: self.class,
            schema: self.schema,
            scope: self.scope,
            hash: *hash.as_bytes(),
        }
    }
}

impl Key {
    pub fn class(&self) -> Class {
        self.class
    }

    pub fn schema(&self) -> u8 {
        self.schema
    }

    pub fn organization(&self) -> Option<OrganizationId> {
        match self.scope {
            Scope::Organization(organization) => Some(organization),
            Scope::Credential => None,
        }
    }

    /// A key by its hash, for an entry that another process invalidates.
    pub(super) fn of_hash(class: Class, schema: u8, hash: [u8; 32]) -> Self {
        Self {
            class,
            schema,
            scope: Scope::Credential,
            hash,
        }
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The hash tag, which decides the shard (the part between the braces of a Redis key).
    fn tag(&self) -> String {
        match self.scope {
            Scope::Organization(organization) => organization.to_string(),
            Scope::Credential => hex::encode(&self.hash[..16]),
        }
    }

    /// The entry's keys in Redis.
    pub(super) fn redis_keys(&self) -> RedisKeys {
        let tag = self.tag();
        let class = self.class.as_str();
        let mut value = String::with_capacity(tag.len() + class.len() + 80);
        let _ = write!(value, "maple:{{{tag}}}:{class}.{}:", self.schema);
        for byte in self.hash {
            let _ = write!(value, "{byte:02x}");
        }
        RedisKeys {
            lease: format!("{value}:lease"),
            generation: generation_name(&tag, self.class),
            slot: slot_of(tag.as_bytes()),
            value,
        }
    }

    /// A word of the hash, as good as random.
    pub(super) fn word(&self) -> u64 {
        self.hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The share of its lifetime that an entry loses, 0 to 0.1, derived from the key: entries made together expire apart, and
    /// the same entry expires at the same time in every process.
    pub(super) fn jitter(&self) -> f64 {
        let [.., low, high] = self.hash;
        f64::from(u16::from_le_bytes([low, high])) / f64::from(u16::MAX) * 0.1
    }
}

/// The Redis keys of one entry, all on one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RedisKeys {
    pub(super) value: String,
    /// Key of the lease of the process that loads the value.
    pub(super) lease: String,
    /// Changed by purging a tenant's entries of the class.
    pub(super) generation: String,
    pub(super) slot: u16,
}

pub(super) fn generation_of(organization: OrganizationId, class: Class) -> (String, u16) {
    let tag = organization.to_string();
    (generation_name(&tag, class), slot_of(tag.as_bytes()))
}

fn generation_name(tag: &str, class: Class) -> String {
    format!("maple:{{{tag}}}:{}:generation", class.as_str())
}

/// The hash slot of a tag, by the Redis Cluster specification.
pub(super) fn slot_of(tag: &[u8]) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(tag) % 16_384
}

#[cfg(test)]
mod tests;
