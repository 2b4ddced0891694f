//! A Redis some way off.

use std::time::Duration;

use super::rig::{Backend, Process, key};
use crate::support::{distance::Far, eventually, redis::Redis};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_far_away_misses_nothing_and_is_asked_on() {
    let redis = Redis::start().await;
    let far = Far::start(&redis.url(), Duration::from_millis(10)).await;
    let backend = Backend::at(&far.url());
    let (one, two) = (Process::start(&backend).await, Process::start(&backend).await);
    let epochs = || redis.run(&["hgetall", "maple:epochs"]);
    eventually("the start to be over", || async {
        (!one.tiers.has_pending() && !two.tiers.has_pending()).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = epochs();
    for number in 0..100 {
        let name = format!("name {}", number % 10);
        assert!(!one.get(key(1, &name), "x").await.is_empty());
        assert!(!two.get(key(1, &name), "x").await.is_empty());
        one.cache.invalidate(&[key(1, &name)]).await;
        assert!(
            one.tiers.redis().unwrap().is_whole() && two.tiers.redis().unwrap().is_whole(),
            "after {number}"
        );
    }
    one.flush().await;
    two.flush().await;
    assert_eq!(epochs(), before, "an invalidation counted as missed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_late_answer_closes_redis_for_nobody() {
    let redis = Redis::start().await;
    let far = Far::start(&redis.url(), Duration::ZERO).await;
    let process = Process::start(&Backend::at(&far.url())).await;
    for number in 0..20 {
        // One answer is held back for longer than a caller waits; the next ones are not.
        far.pause(Duration::from_millis(70));
        assert_eq!(process.get(key(1, &format!("late {number}")), "x").await, "x");
        assert!(process.tiers.redis().unwrap().is_whole(), "after {number}");
        assert_eq!(process.get(key(1, &format!("next {number}")), "x").await, "x");
    }
}
