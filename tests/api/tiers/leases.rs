//! Callers who hang up while something is loaded for them, and writes that come meanwhile.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::rig::{Backend, Process, SLOW, key, text};

/// Far below what a lease lasts, for a machine that has other things to do.
const NO_WAIT: Duration = Duration::from_millis(800);

/// Asks, and hangs up after `timeout`.
async fn hang_up(process: &Process, name: &str, timeout: Duration) {
    let slow = || async {
        tokio::time::sleep(SLOW).await;
        Ok(Some(text("never seen")))
    };
    let asking = process.cache.get_or_load(key(1, name), slow);
    let left = tokio::time::timeout(timeout, asking).await;
    assert!(left.is_err(), "it was to hang up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_after_one_that_hung_up_does_not_wait_for_its_load() {
    for backend in [Backend::single().await, Backend::cluster().await] {
        let (one, two) = (Process::start(&backend).await, Process::start(&backend).await);
        for number in 0..20 {
            let name = format!("left {number}");
            // At any moment: before the lease has been asked for, while it is on its way, and while it is held.
            hang_up(&one, &name, Duration::from_micros(number * 400)).await;
            let next = if number % 2 == 0 { &one } else { &two };
            let asked = Instant::now();
            assert_eq!(next.get(key(1, &name), "loaded").await, "loaded");
            assert!(asked.elapsed() < NO_WAIT, "{name} on {backend}: {:?}", asked.elapsed());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_another_takes_over_when_that_one_hangs_up_and_shares_what_it_loads() {
    let backend = Backend::single().await;
    let (one, two) = (Process::start(&backend).await, Process::start(&backend).await);
    let waiting = async {
        tokio::time::sleep(SLOW / 6).await;
        let asked = Instant::now();
        assert_eq!(two.get(key(1, "left"), "taken over").await, "taken over");
        assert!(asked.elapsed() < NO_WAIT, "{:?}", asked.elapsed());
    };
    tokio::join!(hang_up(&one, "left", SLOW / 3), waiting);
    two.flush().await;
    assert_eq!(
        one.get(key(1, "left"), "not asked").await,
        "taken over",
        "it was stored for all"
    );
}

/// A role, for example, that is read before it changes and stored after everybody has taken note of the change: nobody would look again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_before_a_write_is_stored_for_nobody_after_it() {
    for backend in [Backend::single().await, Backend::cluster().await] {
        let two = Process::start(&backend).await;
        let one = Process::start_without_messages(&backend, &two).await;
        let wanted = key(1, "race");
        let (read, has_read) = oneshot::channel();
        let (written, is_written) = oneshot::channel();
        let load = || async move {
            read.send(()).unwrap();
            is_written.await.unwrap();
            Ok(Some(text("old")))
        };
        let writing = async {
            has_read.await.unwrap();
            two.cache.invalidate(&[wanted]).await;
            two.flush().await;
            written.send(()).unwrap();
        };
        let (loaded, ()) = tokio::join!(one.cache.get_or_load(wanted, load), writing);
        assert_eq!(
            loaded.unwrap().unwrap().0,
            "old",
            "who asked before the write may see it"
        );
        one.flush().await;
        assert_eq!(two.get(wanted, "new").await, "new", "on {backend}");
    }
}
