use proptest::prelude::*;

use super::{GATHERED, Key, KeyBuilder, Scope, slot_of};
use crate::Class;
use domain::ids::OrganizationId;

fn key(class: Class, organization: u128, fields: &[Vec<u8>]) -> Key {
    let scope = Scope::Organization(OrganizationId(uuid::Uuid::from_u128(organization)));
    fields
        .iter()
        .fold(KeyBuilder::new(class, 1, scope), KeyBuilder::field)
        .build()
}

#[test]
fn slots_are_those_of_redis() {
    // From the specification, and `CLUSTER KEYSLOT`.
    assert_eq!(slot_of(b"123456789"), 0x31C3);
    assert_eq!(slot_of(b"user1000"), 3443);
}

#[test]
fn all_names_of_a_key_are_on_one_shard_and_the_tenant_decides_it() {
    let one = key(Class::Answer, 7, &[b"a".to_vec()]).redis_keys();
    let two = key(Class::Profile, 7, &[b"b".to_vec()]).redis_keys();
    let tag = "{00000000-0000-0000-0000-000000000007}";
    for name in [&one.value, &one.lease, &one.generation, &two.value] {
        assert!(name.contains(tag), "{name}");
    }
    assert_eq!(one.slot, two.slot);
    assert_ne!(one.value, two.value);
}

#[test]
fn long_and_short_fields_are_hashed_alike() {
    for lengths in [
        vec![0],
        vec![900, 50],
        vec![GATHERED],
        vec![10, 5_000, 3],
        vec![2_000, 2_000],
    ] {
        let fields: Vec<_> = lengths.into_iter().map(|length| vec![b'x'; length]).collect();
        let mut hasher = blake3::Hasher::new();
        let organization = uuid::Uuid::from_u128(7);
        let head: [&[u8]; 3] = [Class::Answer.as_str().as_bytes(), &[1], organization.as_bytes()];
        for field in head.into_iter().chain(fields.iter().map(Vec::as_slice)) {
            hasher.update(&(field.len() as u64).to_le_bytes()).update(field);
        }
        assert_eq!(key(Class::Answer, 7, &fields).hash(), *hasher.finalize().as_bytes());
    }
}

proptest! {
    /// Moving a boundary, a class or a tenant is another key.
    #[test]
    fn keys_are_equal_only_if_everything_is(
        a in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
        b in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
        tenants in (0..3_u128, 0..3_u128),
        classes in (0..Class::ALL.len(), 0..Class::ALL.len()),
    ) {
        let same = a == b && tenants.0 == tenants.1 && classes.0 == classes.1;
        let one = key(Class::ALL[classes.0], tenants.0, &a);
        let two = key(Class::ALL[classes.1], tenants.1, &b);
        prop_assert_eq!(one == two, same);
        prop_assert!((0.0..=0.1).contains(&one.jitter()));
    }
}
