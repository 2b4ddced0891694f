//! Ending a server in order, with a limit on each wait.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::Server;
use crate::{lifecycle::wait_for, task};
use configuration::server::AFTER_DRAIN;

/// For streams to send their last event once their time is up.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// For work that outlives its request and for background tasks, one after the other.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What is promised to the platform: twice the work that goes on, and the journal, the use of keys, the pools at once, traces and the operations
/// listener, each within [`CLOSE_LIMIT`].
const _: () = assert!(
    LAST_WORDS.as_secs() + 2 * FLUSH_LIMIT.as_secs() + 5 * CLOSE_LIMIT.as_secs() <= AFTER_DRAIN.as_secs(),
    "what comes after the drain does not fit"
);

impl Server {
    /// Ends in order: say so, stop accepting, let requests finish, keep what is to be kept, close.
    pub async fn stop(self) {
        let started = Instant::now();
        tracing::info!(target: "mapleai::lifecycle", phase = 1, "stopping: readiness says no, connections are still accepted");
        self.readiness.start_draining();
        // A process that cannot go on has nothing to gain from waiting.
        if !self.lifecycle.broken.is_cancelled() {
            tokio::time::sleep(self.drain_delay).await;
        }
        tracing::info!(target: "mapleai::lifecycle", phase = 2, open_connections = self.lifecycle.connections.len(), "no new connections");
        self.lifecycle.stop_accepting.cancel();
        if !wait_for(&self.lifecycle.connections, self.drain_timeout).await {
            tracing::warn!(target: "mapleai::lifecycle", phase = 3, open_connections = self.lifecycle.connections.len(), "time is up for open streams");
        }
        self.lifecycle.end_streams.cancel();
        wait_for(&self.lifecycle.connections, LAST_WORDS).await;
        let answers_kept = wait_for(&self.lifecycle.detached, FLUSH_LIMIT).await;
        self.lifecycle.stop_tasks.cancel();
        wait_for(&self.lifecycle.background, FLUSH_LIMIT).await;
        let (written, left) = task::usage_flush::drain(&self.services.usage, self.records.stop_timeout).await;
        let kept = self.services.usage.close_journal().await;
        // What goes with the folder is not kept for anybody.
        let journalled = if self.records.journal_outlives_stop { kept } else { 0 };
        let lost = left.saturating_sub(journalled);
        tracing::info!(target: "mapleai::lifecycle", phase = 4, written, journalled, lost, all_answers_kept = answers_kept, "usage records flushed");
        let _ = tokio::time::timeout(CLOSE_LIMIT, self.services.api_keys.note_used()).await;
        join_all(self.databases.iter().map(|database| database.close(CLOSE_LIMIT))).await;
        if let Some(traces) = self.traces {
            let closed = tokio::task::spawn_blocking(move || traces.close());
            let _ = tokio::time::timeout(CLOSE_LIMIT, closed).await;
        }
        if let Some(ops) = self.ops {
            ops.stop().await;
        }
        tracing::info!(target: "mapleai::lifecycle", phase = 5, seconds = started.elapsed().as_secs_f32(), "stopped");
    }
}
