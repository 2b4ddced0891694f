//! Starting and stopping: the tokens that say stop, the tasks that must end first, and the order of it.

use std::{future::Future, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The stop signals of one process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Lifecycle {
    /// No new connections; open ones finish what they are doing.
    pub stop_accepting: CancellationToken,
    /// Time is up for streams: they end with a last event.
    pub end_streams: CancellationToken,
    /// Background work ends.
    pub stop_tasks: CancellationToken,
    /// An essential task has died: the process must not go on half alive.
    pub broken: CancellationToken,
    /// Open connections.
    pub connections: TaskTracker,
    /// Work that outlives its request, such as keeping an answer.
    pub detached: TaskTracker,
    /// Background tasks.
    pub background: TaskTracker,
}

impl Lifecycle {
    /// Runs a background task. If it panics the process ends, visibly.
    pub fn run(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let broken = self.broken.clone();
        let running = self.background.spawn(task);
        self.background.spawn(async move {
            if let Err(error) = running.await
                && error.is_panic()
            {
                tracing::error!(target: "mapleai::lifecycle", task = name, "background task panicked; the process ends");
                broken.cancel();
            }
        });
    }
}

/// SIGTERM and SIGINT, listened for from the start: one that comes while starting is not lost.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> Result<Self, Broken> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Broken::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Broken::Signals)?,
        })
    }

    /// Waits for the next of either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for one, or for an essential task to die, which is an error.
    pub async fn stop_requested(&mut self, lifecycle: &Lifecycle) -> Result<(), Broken> {
        tokio::select! {
            () = self.next() => Ok(()),
            () = lifecycle.broken.cancelled() => Err(Broken::Task),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    #[error("a background task died")]
    Task,
}

/// Waits for `tasks` at most `limit`; false if some are still running then.
pub async fn wait_for(tasks: &TaskTracker, limit: Duration) -> bool {
    tasks.close();
    tokio::time::timeout(limit, tasks.wait()).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::Lifecycle;
    use std::time::Duration;

    #[tokio::test]
    async fn a_task_that_panics_is_the_end_and_one_that_ends_is_not() {
        let lifecycle = Lifecycle::default();
        lifecycle.run("well", async {});
        let soon = Duration::from_millis(100);
        assert!(tokio::time::timeout(soon, lifecycle.broken.cancelled()).await.is_err());
        lifecycle.run("ill", async { panic!("on purpose") });
        assert!(
            tokio::time::timeout(10 * soon, lifecycle.broken.cancelled())
                .await
                .is_ok()
        );
    }
}
