use std::{convert::Infallible, time::Duration};

use tokio_util::task::TaskTracker;

use super::Cached;
use crate::{
    class::{Class, Policy},
    key::{Key, KeyBuilder},
    tiers::{LocalTier as _, Tiers},
};
use crypto::seal::Sealer;
use domain::{clock::Clock, ids::OrganizationId};

fn tiers(local_ttl: Duration) -> Tiers {
    let sealer = Sealer::new("tests", []).unwrap();
    Tiers::new(None, sealer, local_ttl, Clock::system(), 1, TaskTracker::new())
}

fn cached(tiers: &Tiers, class: Class, ttl: Duration) -> Cached<String, Infallible> {
    let policy = Policy {
        ttl,
        absent_ttl: ttl,
        memory_bytes: 64 * 1024,
        largest: 4 * 1024,
    };
    Cached::new(tiers, class, policy)
}

fn key(class: Class, number: usize) -> Key {
    let organization = OrganizationId(uuid::Uuid::from_u128(7));
    KeyBuilder::new(class, 1, organization.into())
        .field(number.to_string())
        .build()
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn what_finds_no_room_is_counted_as_evicted() {
    let tiers = tiers(LONG);
    let answers = cached(&tiers, Class::Answer, LONG);
    for number in 0..2_000 {
        answers.keep(key(Class::Answer, number), "x".repeat(100));
    }
    let stats = answers.0.stats();
    assert!(stats.bytes <= 64 * 1024, "{stats:?}");
    assert!(stats.bytes > 60 * 1024, "{stats:?}");
    assert_eq!(stats.evictions, 2_000 - stats.entries);
}

#[tokio::test]
async fn a_flood_takes_nothing_from_what_is_asked_for_again_and_new_answers_have_room() {
    let tiers = tiers(LONG);
    let answers = cached(&tiers, Class::Answer, LONG);
    let peek = |number| answers.peek(&key(Class::Answer, number)).is_some();
    for number in 0..20 {
        answers.keep(key(Class::Answer, number), "wanted".to_owned());
        assert!(peek(number));
    }
    for number in 20..5_000 {
        answers.keep(key(Class::Answer, number), "x".repeat(100));
        if number % 50 == 0 {
            assert_eq!((0..20).filter(|number| peek(*number)).count(), 20, "after {number}");
            assert!(peek(number), "{number} is new, and had no room");
        }
    }
}

#[tokio::test]
async fn the_largest_value_has_room_and_a_larger_one_drives_nothing_out() {
    let tiers = tiers(LONG);
    let answers = cached(&tiers, Class::Answer, LONG);
    for number in 0..100 {
        answers.keep(key(Class::Answer, number), "x".repeat(100));
    }
    answers.keep(key(Class::Answer, 100), "x".repeat(4 * 1024));
    assert!(answers.peek(&key(Class::Answer, 100)).is_some());
    let before = answers.0.stats();
    answers.keep(key(Class::Answer, 101), "x".repeat(64 * 1024));
    assert!(answers.peek(&key(Class::Answer, 101)).is_none());
    let after = answers.0.stats();
    assert_eq!((after.entries, after.evictions), (before.entries, before.evictions + 1));
}

#[tokio::test]
async fn what_has_expired_is_freed() {
    let tiers = tiers(LONG);
    let (brief, long) = (
        cached(&tiers, Class::Answer, Duration::from_millis(20)),
        cached(&tiers, Class::Answer, LONG),
    );
    for number in 0..20 {
        brief.keep(key(Class::Answer, number), "old".to_owned());
        long.keep(key(Class::Answer, number), "old".to_owned());
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    tiers.free_expired();
    assert_eq!((brief.0.stats().entries, brief.0.stats().bytes), (0, 0));
    assert_eq!(brief.0.stats().evictions, 0);
    assert_eq!(long.0.stats().entries, 20);
}

#[tokio::test]
async fn what_is_forgotten_replaced_or_expired_is_not() {
    let tiers = tiers(LONG);
    let answers = cached(&tiers, Class::Answer, LONG);
    let brief = cached(&tiers, Class::Answer, Duration::from_millis(20));
    for number in 0..20 {
        answers.keep(key(Class::Answer, number), "old".to_owned());
        brief.keep(key(Class::Answer, number), "old".to_owned());
    }
    for number in 0..10 {
        answers.keep(key(Class::Answer, number), "new".to_owned());
    }
    answers.invalidate(&[key(Class::Answer, 15)]).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    for number in 0..20 {
        brief.keep(key(Class::Answer, number), "new".to_owned());
    }
    answers.0.forget_organization(OrganizationId(uuid::Uuid::from_u128(7)));
    assert_eq!(answers.0.stats().entries, 0);
    assert_eq!(answers.0.stats().evictions, 0);
    assert_eq!(brief.0.stats().evictions, 0);
}

#[tokio::test]
async fn what_will_never_be_believed_again_is_freed() {
    let tiers = tiers(LONG);
    let (answers, profiles) = (
        cached(&tiers, Class::Answer, LONG),
        cached(&tiers, Class::Profile, LONG),
    );
    for number in 0..20 {
        answers.keep(key(Class::Answer, number), "x".to_owned());
        profiles.keep(key(Class::Profile, number), "x".to_owned());
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    tiers.invalidate_all_stored();
    profiles.keep(key(Class::Profile, 20), "x".to_owned());
    tiers.free_expired();
    assert_eq!((answers.0.stats().entries, profiles.0.stats().entries), (20, 1));
}

#[tokio::test]
async fn what_is_not_believed_any_more_is_not_counted_as_evicted() {
    let tiers = tiers(Duration::from_millis(10));
    let profiles = cached(&tiers, Class::Profile, LONG);
    for _ in 0..2 {
        for number in 0..20 {
            let load = || async { Ok(Some("a name".to_owned())) };
            let found = profiles.get_or_load(key(Class::Profile, number), load).await;
            assert!(found.is_ok_and(|found| found.is_some()));
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(profiles.0.stats().entries, 20);
    assert_eq!(profiles.0.stats().evictions, 0);
}

#[tokio::test]
async fn every_answer_that_comes_into_memory_is_news() {
    let tiers = tiers(LONG);
    let answers = cached(&tiers, Class::Answer, LONG);
    let before = answers.insert_count();
    assert!(answers.peek(&key(Class::Answer, 1)).is_none());
    assert_eq!(answers.insert_count(), before);
    answers.keep(key(Class::Answer, 1), "x".to_owned());
    assert_ne!(answers.insert_count(), before);
}
