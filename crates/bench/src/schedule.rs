//! When requests of an open loop leave: at a fixed rate, whatever the server does.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{Receiver, channel};

/// The kernel wakes a sleeper late by about this much on a virtual machine, and another thread has to be told; the rest of a wait is spun.
const SPIN: Duration = Duration::from_micros(100);

/// Intended send times, of which each is given once.
pub(crate) struct Schedule(Receiver<Instant>);

impl Schedule {
    /// Its clock is a thread that sleeps, since tokio's counts in milliseconds, and requests are due half a millisecond apart. It ends with
    /// the last of them.
    pub(crate) fn start(start: Instant, duration: Duration, per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        let count = usize::try_from(duration.as_nanos() / interval.as_nanos()).unwrap_or(usize::MAX);
        let (sender, receiver) = channel(count.max(1));
        thread::spawn(move || {
            let mut due = start;
            for _ in 0..count {
                thread::sleep(due.saturating_duration_since(Instant::now()).saturating_sub(SPIN));
                // Nobody asks any more when the run was given up.
                if sender.try_send(due).is_err() {
                    return;
                }
                due += interval;
            }
        });
        Self(receiver)
    }

    /// Waits until the next request is due, and gives that time; none at the end. What is asked for late was due all the same: what
    /// waiting for a connection costs counts as latency.
    pub(crate) async fn next(&mut self) -> Option<Instant> {
        let due = self.0.recv().await?;
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        Some(due)
    }

    /// How many were due and not asked for.
    pub(crate) fn left(&self) -> u64 {
        self.0.len() as u64
    }
}
