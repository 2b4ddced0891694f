//! The two tiers by themselves: the same rules without Redis, with one, and with a cluster.

mod cluster;
mod far;
mod leases;
mod model;
mod refusals;
mod rig;
mod seals;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use rig::{Backend, Process, SLOW, key, text};

use crate::support::{eventually, redis::Redis};

async fn on_each(test: impl AsyncFn(&Backend)) {
    for backend in [Backend::None, Backend::single().await, Backend::cluster().await] {
        test(&backend).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_misses_make_one_load() {
    on_each(async |backend| {
        let (one, two) = (Process::start(backend).await, Process::start(backend).await);
        let loads = Arc::new(AtomicUsize::new(0));
        let ask = |process: &Process| {
            let (cache, loads) = (process.cache.clone(), Arc::clone(&loads));
            async move {
                let load = || async move {
                    loads.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok(Some(text("loaded")))
                };
                cache.get_or_load(key(1, "crowd"), load).await.unwrap().unwrap().0
            }
        };
        let answers = join_all((0..1_000).map(|number| ask(if number % 2 == 0 { &one } else { &two }))).await;
        assert!(answers.iter().all(|answer| answer == "loaded"));
        let loads = loads.load(Ordering::Relaxed);
        // Where the processes have something in common, one loads for both.
        let most = if matches!(backend, Backend::None) { 2 } else { 1 };
        assert!((1..=most).contains(&loads), "{loads} loads on {backend}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_goes_away_takes_nobody_along_and_failures_are_not_kept() {
    on_each(async |backend| {
        let process = Process::start(backend).await;
        let slow = || async {
            tokio::time::sleep(SLOW).await;
            Ok(Some(text("slow")))
        };
        let first = process.cache.get_or_load(key(1, "left"), slow);
        let impatient = tokio::time::timeout(SLOW / 3, first);
        let second = process
            .cache
            .get_or_load(key(1, "left"), || async { panic!("it is being loaded") });
        let (impatient, second) = tokio::join!(impatient, second);
        assert!(impatient.is_err());
        assert_eq!(second.unwrap().unwrap().0, "slow");

        let failed = process.cache.get_or_load(key(1, "fails"), || async { Err("no") }).await;
        assert_eq!(*failed.unwrap_err(), "no");
        let then = process
            .cache
            .get_or_load(key(1, "fails"), || async { Ok(Some(text("yes"))) })
            .await;
        assert_eq!(then.unwrap().unwrap().0, "yes");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absence_is_remembered_for_a_shorter_while() {
    on_each(async |backend| {
        let process = Process::start(backend).await;
        let none = process.cache.get_or_load(key(1, "absent"), || async { Ok(None) }).await;
        assert!(none.unwrap().is_none());
        let still = process
            .cache
            .get_or_load(key(1, "absent"), || async { Ok(Some(text("there"))) })
            .await;
        assert!(still.unwrap().is_none(), "remembered");
        tokio::time::sleep(rig::ABSENT_TTL + Duration::from_millis(100)).await;
        let there = process
            .cache
            .get_or_load(key(1, "absent"), || async { Ok(Some(text("there"))) })
            .await;
        assert_eq!(there.unwrap().unwrap().0, "there");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_what_they_know_and_tell_each_other_of_changes() {
    for backend in [Backend::single().await, Backend::cluster().await] {
        let (one, two) = (Process::start(&backend).await, Process::start(&backend).await);
        assert_eq!(one.get(key(1, "a"), "old").await, "old");
        one.flush().await;
        eventually("the other to have it from Redis", || async {
            (two.get(key(1, "a"), "not asked").await == "old").then_some(())
        })
        .await;
        one.cache.invalidate(&[key(1, "a")]).await;
        assert_eq!(one.get(key(1, "a"), "new").await, "new", "at once where it was written");
        let told = Instant::now();
        while two.get(key(1, "a"), "new").await == "old" {
            assert!(told.elapsed() < Duration::from_secs(1), "within a second elsewhere");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Purging an organisation, and a class, reaches the other, and leaves other organisations alone.
        assert_eq!(one.get(key(2, "b"), "other").await, "other");
        let purged = one.tiers.purge(None, Some(rig::organization(1)), 77).await;
        purged.unwrap();
        assert_eq!(one.get(key(1, "a"), "purged").await, "purged");
        assert_eq!(one.get(key(2, "b"), "lost").await, "other");
        one.tiers.purge(Some(cache::Class::Profile), None, 78).await.unwrap();
        assert_eq!(one.get(key(2, "b"), "purged too").await, "purged too");
        eventually("the other to hear of it", || async {
            (two.get(key(2, "b"), "purged too").await == "purged too").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_a_write_overtakes_is_not_kept() {
    on_each(async |backend| {
        let process = Process::start(backend).await;
        let before = || async {
            tokio::time::sleep(SLOW).await;
            Ok(Some(text("before")))
        };
        let reading = process.cache.get_or_load(key(1, "race"), before);
        let writing = async {
            tokio::time::sleep(SLOW / 3).await;
            process.cache.invalidate(&[key(1, "race")]).await;
        };
        let (read, ()) = tokio::join!(reading, writing);
        assert_eq!(
            read.unwrap().unwrap().0,
            "before",
            "who asked before the write may see what was before"
        );
        // Enough for what is done after the answer.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(process.get(key(1, "race"), "after").await, "after");
        let other = Process::start(backend).await;
        let seen = other.get(key(1, "race"), "after").await;
        assert_eq!(seen, "after", "nor in Redis");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_answers_are_loaded_anew_before_they_expire() {
    on_each(async |backend| {
        let process = Process::start(backend).await;
        let loads = Arc::new(AtomicUsize::new(0));
        let began = Instant::now();
        // A machine that holds this task up holds up what loads anew as well, and then somebody does have to wait.
        let mut held_up = 0;
        while began.elapsed() < rig::TTL * 2 {
            let loads = Arc::clone(&loads);
            let load = || async move {
                loads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(SLOW).await;
                Ok(Some(text("hot")))
            };
            process.cache.get_or_load(key(1, "hot"), load).await.unwrap();
            let paused = Instant::now();
            tokio::time::sleep(Duration::from_millis(10)).await;
            held_up += u64::from(paused.elapsed() > HELD_UP);
        }
        assert!(loads.load(Ordering::Relaxed) >= 2, "it was loaded anew");
        let stats = process.tiers.stats();
        let misses: u64 = stats.iter().map(|class| class.misses).sum();
        assert!(
            misses <= 1 + held_up,
            "nobody waited for it after the first: {misses} misses, held up {held_up} times"
        );
    })
    .await;
}

/// Loading anew begins with a fifth of [`rig::LOCAL_TTL`] left, and takes [`SLOW`].
const HELD_UP: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_or_dead_redis_costs_a_caller_at_most_50_ms_and_then_nothing() {
    let mut redis = Redis::start().await;
    let process = Process::start(&Backend::at(&redis.url())).await;
    assert_eq!(process.get(key(1, "warm"), "x").await, "x");
    for hang in [true, false] {
        if hang {
            redis.hang();
        } else {
            redis.kill();
        }
        let mut slowest = Duration::ZERO;
        let mut over_limit = 0;
        for number in 0..200 {
            let asked = Instant::now();
            assert_eq!(
                process
                    .get(key(1, &format!("{hang} {number}")), "from the source")
                    .await,
                "from the source"
            );
            let took = asked.elapsed();
            slowest = slowest.max(took);
            over_limit += usize::from(took > Duration::from_millis(25));
        }
        // The limit, and a machine that has other things to do.
        assert!(slowest < Duration::from_millis(150), "hang {hang}: {slowest:?}");
        assert!(over_limit <= 10, "hang {hang}: {over_limit} of 200 waited");
        if hang {
            redis.wake();
        } else {
            redis.bring_back().await;
        }
        let back = Instant::now();
        eventually("Redis to be asked again", || async {
            process.get(key(1, "again"), "x").await;
            process.tiers.redis().unwrap().is_whole().then_some(())
        })
        .await;
        assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_that_redis_missed_is_made_up_for() {
    let redis = Redis::start().await;
    let backend = Backend::at(&redis.url());
    let (one, two) = (Process::start(&backend).await, Process::start(&backend).await);
    assert_eq!(one.get(key(1, "missed"), "old").await, "old");
    one.flush().await;
    eventually("the other to have it", || async {
        (two.get(key(1, "missed"), "not asked").await == "old").then_some(())
    })
    .await;
    redis.hang();
    one.cache.invalidate(&[key(1, "missed")]).await;
    let written = Instant::now();
    assert_eq!(one.get(key(1, "missed"), "new").await, "new");
    tokio::time::sleep(Duration::from_millis(300)).await;
    redis.wake();
    loop {
        let seen = two.get(key(1, "missed"), "new").await;
        if seen == "new" {
            break;
        }
        assert!(
            written.elapsed() < Duration::from_secs(5),
            "still old after {:?}",
            written.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // What Redis still had from before is not believed by anybody, now or later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let third = Process::start(&backend).await;
    assert_eq!(third.get(key(1, "missed"), "new").await, "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_another_form_are_misses() {
    let backend = Backend::single().await;
    let (one, two) = (Process::start(&backend).await, Process::start(&backend).await);
    assert_eq!(one.get(key(1, "form"), "readable").await, "readable");
    one.flush().await;
    backend.damage_everything();
    assert_eq!(two.get(key(1, "form"), "loaded anew").await, "loaded anew");
}
