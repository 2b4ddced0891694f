//! A Redis that answers, and takes no writes. What it holds cannot be invalidated, so nobody may be shown it.

use std::time::{Duration, Instant};

use super::rig::{Backend, Process, key};
use crate::support::{
    eventually,
    redis::{Redis, Refusal},
};

/// Redis as it was saved is asked about for so long; contractual is a second.
const WATCHED: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_removed_is_shown_by_nobody_and_all_is_shared_again_afterwards() {
    for refusal in Refusal::ALL {
        let redis = Redis::start().await;
        let backend = Backend::at(&redis.url());
        let (one, two) = (Process::start(&backend).await, Process::start(&backend).await);
        assert_eq!(one.get(key(1, "list"), "old").await, "old");
        one.flush().await;
        assert_eq!(two.get(key(1, "list"), "not asked").await, "old");
        redis.refuse_writes(refusal).await;
        one.cache.invalidate(&[key(1, "list")]).await;
        let written = Instant::now();
        assert_eq!(one.get(key(1, "list"), "new").await, "new");
        while written.elapsed() < WATCHED {
            let seen = two.get(key(1, "list"), "new").await;
            assert!(
                seen == "new" || written.elapsed() < Duration::from_secs(1),
                "{refusal:?}: {seen} after {:?}",
                written.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for process in [&one, &two] {
            assert!(
                process.tiers.redis().unwrap().refuses_writes() && !process.tiers.is_coherent(),
                "{refusal:?}"
            );
        }
        // A process that starts now knows nothing of what went before.
        let third = Process::start_deaf(&backend).await;
        assert_eq!(third.get(key(1, "list"), "new").await, "new", "{refusal:?}");

        redis.take_writes(refusal).await;
        eventually("Redis to be believed again", || async {
            (one.tiers.is_coherent() && two.tiers.is_coherent() && !one.tiers.has_pending()).then_some(())
        })
        .await;
        for process in [&one, &two, &third] {
            assert_eq!(
                process.get(key(1, "list"), "newer").await.replace("newer", "new"),
                "new",
                "{refusal:?}"
            );
        }
        assert_eq!(one.get(key(1, "later"), "shared").await, "shared");
        one.flush().await;
        eventually("it to be shared", || async {
            (two.get(key(1, "later"), "shared").await == "shared").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_with_an_old_dump_is_not_believed() {
    let mut redis = Redis::start().await;
    let backend = Backend::at(&redis.url());
    let one = Process::start(&backend).await;
    assert_eq!(one.get(key(1, "list"), "old").await, "old");
    one.flush().await;
    redis.run(&["save"]);
    one.cache.invalidate(&[key(1, "list")]).await;
    assert_eq!(one.get(key(1, "list"), "new").await, "new");
    one.flush().await;
    // Nobody lives on who could know.
    drop(one);
    redis.kill();
    redis.bring_back().await;
    assert!(
        redis.run(&["dbsize"]).parse::<u32>().unwrap() > 0,
        "it has what was saved"
    );
    let two = Process::start(&backend).await;
    assert_eq!(two.get(key(1, "list"), "new").await, "new");
}
