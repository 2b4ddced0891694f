//! HTML that was made, kept in memory by what it was made of, so that a conversation that is looked at again costs a look-up for
//! each answer. It can always be made again, so it is in no other tier.

use std::sync::{Arc, LazyLock};

use quick_cache::{Weighter, sync::Cache};

use domain::ids::OrganizationId;

/// Bytes of HTML that are kept.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// What it is reckoned by at first, in bytes.
const USUAL_HTML: u64 = 4 * 1024;
/// For an entry's key and place.
const OVERHEAD: u64 = 128;
/// To be changed with what comes out for a text.
const VERSION: u8 = 1;

static KEPT: LazyLock<Cache<Key, Arc<str>, Bytes>> = LazyLock::new(|| {
    let entries = usize::try_from(MAX_BYTES / USUAL_HTML).unwrap_or(usize::MAX);
    Cache::with_weighter(entries, MAX_BYTES, Bytes)
});

/// A text of an organisation, which shares nothing with others: not even whether a text has been seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(organization: OrganizationId, text: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[VERSION]);
        hasher.update(organization.0.as_bytes());
        hasher.update(text.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Arc<str>> for Bytes {
    fn weight(&self, _: &Key, html: &Arc<str>) -> u64 {
        html.len() as u64 + OVERHEAD
    }
}

pub(super) fn get(key: &Key) -> Option<String> {
    KEPT.get(key).map(|html| html.to_string())
}

pub(super) fn keep(key: Key, html: String) {
    KEPT.insert(key, html.into());
}

#[cfg(test)]
mod tests {
    use super::{Key, MAX_BYTES, OrganizationId, get, keep};

    #[test]
    fn what_is_kept_is_an_organisations_own() {
        let (one, other) = (OrganizationId::generate(), OrganizationId::generate());
        keep(Key::of(one, "text"), "html".to_owned());
        assert_eq!(get(&Key::of(one, "text")).as_deref(), Some("html"));
        assert_eq!(get(&Key::of(other, "text")), None);
    }

    #[test]
    fn memory_is_bounded() {
        let one = OrganizationId::generate();
        for number in 0..100 {
            keep(Key::of(one, &number.to_string()), "x".repeat(1024 * 1024));
        }
        let bytes: usize = (0..100)
            .filter_map(|number| get(&Key::of(one, &number.to_string())))
            .map(|html| html.len())
            .sum();
        assert!(bytes as u64 <= MAX_BYTES, "{bytes}");
    }
}
