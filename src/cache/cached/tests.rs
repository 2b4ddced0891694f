use std::{convert::Infallible, time::Duration};

use tokio_util::task::TaskTracker;

use super::Cached;
use crate::{
    cache::{
        class::{Class, Policy},
        key::{Key, KeyBuilder},
        tiers::{Local as _, Tiers},
    },
    domain::{clock::Clock, ids::OrganizationId},
};

fn tiers(local_ttl: Duration) -> Tiers {
    Tiers::new(None, local_ttl, Clock::system(), 1, TaskTracker::new())
}

fn cached(tiers: &Tiers, class: Class, ttl: Duration) -> Cached<String, Infallible> {
    let policy = Policy {
        ttl,
        absent_ttl: ttl,
        memory_bytes: 64 * 1024,
    };
    Cached::new(tiers, class, policy)
}

fn key(class: Class, number: usize) -> Key {
    let organization = OrganizationId(uuid::Uuid::from_u128(7));
    KeyBuilder::new(class, 1, organization.into())
        .field(number.to_string())
        .build()
}

/// What has left memory is freed some time after, by whoever uses it.
fn evictions(cached: &Cached<String, Infallible>, wanted: impl Fn(u64) -> bool) -> u64 {
    for number in 0..100 {
        let stats = cached.0.stats();
        if wanted(stats.evictions) {
            break;
        }
        cached.peek(&key(Class::Answer, number));
        std::thread::sleep(Duration::from_millis(5));
    }
    cached.0.stats().evictions
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn what_finds_no_room_is_counted_as_evicted() {
    let tiers = tiers(LONG);
    let answers = cached(&tiers, Class::Answer, LONG);
    for number in 0..2_000 {
        answers.keep(key(Class::Answer, number), "x".repeat(100), false);
    }
    let stats = answers.0.stats();
    assert!(stats.bytes <= 64 * 1024, "{stats:?}");
    let gone = 2_000 - stats.entries;
    assert_eq!(evictions(&answers, |count| count == gone), gone);
}

#[tokio::test]
async fn what_is_forgotten_replaced_or_expired_is_not() {
    let tiers = tiers(LONG);
    let answers = cached(&tiers, Class::Answer, LONG);
    let brief = cached(&tiers, Class::Answer, Duration::from_millis(20));
    for number in 0..20 {
        answers.keep(key(Class::Answer, number), "old".to_owned(), false);
        brief.keep(key(Class::Answer, number), "old".to_owned(), false);
    }
    for number in 0..10 {
        answers.keep(key(Class::Answer, number), "new".to_owned(), true);
    }
    answers.invalidate(&[key(Class::Answer, 15)]).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    for number in 0..20 {
        brief.keep(key(Class::Answer, number), "new".to_owned(), false);
    }
    answers.0.forget_organization(OrganizationId(uuid::Uuid::from_u128(7)));
    assert_eq!(answers.0.stats().entries, 0);
    assert_eq!(evictions(&answers, |count| count > 0), 0);
    assert_eq!(evictions(&brief, |count| count > 0), 0);
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
    assert_eq!(evictions(&profiles, |count| count > 0), 0);
}

#[tokio::test]
async fn every_answer_that_comes_into_memory_is_news() {
    let tiers = tiers(LONG);
    let answers = cached(&tiers, Class::Answer, LONG);
    let before = answers.remembered();
    assert!(answers.peek(&key(Class::Answer, 1)).is_none());
    assert_eq!(answers.remembered(), before);
    answers.keep(key(Class::Answer, 1), "x".to_owned(), false);
    assert_ne!(answers.remembered(), before);
}
