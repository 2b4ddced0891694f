//! What every suite needs.

pub(crate) mod accounts;
pub(crate) mod app;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod distance;
pub(crate) mod far;
pub(crate) mod haproxy;
pub(crate) mod locks;
pub(crate) mod nginx;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod redis_cluster;
pub(crate) mod served;
pub(crate) mod switch;
pub(crate) mod upstream;

pub(crate) use app::TestApp;
pub(crate) use client::{Answer, Client};
pub(crate) use upstream::{FakeUpstream, Reply};

use std::{future::Future, time::Duration};

/// For waits that end at once when all is well: long enough for a busy machine, short enough for a person.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Waits for `future`, at most [`TIMEOUT`].
#[track_caller]
pub fn soon<T>(what: &'static str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        tokio::time::timeout(TIMEOUT, future)
            .await
            .unwrap_or_else(|_| panic!("{caller}: {what} took longer than {TIMEOUT:?}"))
    }
}

/// Asks again and again until `look` finds something.
#[track_caller]
pub fn eventually<T, F: Future<Output = Option<T>>>(
    what: &'static str,
    mut look: impl FnMut() -> F,
) -> impl Future<Output = T> {
    soon(what, async move {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}
