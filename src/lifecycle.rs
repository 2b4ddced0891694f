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

/// SIGTERM, SIGINT and SIGHUP, listened for from the start: one that comes while starting is not lost. Others that would end the process
/// without a drain are taken and change nothing.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// A terminal that went away; absent where whoever started the process has it ignored, as `nohup` does.
    hangup: Option<Signal>,
    _ignored: [Signal; 3],
}

impl Signals {
    pub fn listen() -> Result<Self, Broken> {
        let listen = |kind| signal(kind).map_err(Broken::Signals);
        let hangup = SignalKind::hangup();
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: (!is_ignored(hangup)).then(|| listen(hangup)).transpose()?,
            _ignored: [
                listen(SignalKind::quit())?,
                listen(SignalKind::user_defined1())?,
                listen(SignalKind::user_defined2())?,
            ],
        })
    }

    /// Waits for the next that says stop.
    pub async fn next(&mut self) {
        let hangup = self.hangup.as_mut();
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            Some(()) = async { hangup?.recv().await } => {}
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

/// Whether the process was started with the signal ignored (proc(5): a bit for each in hexadecimal).
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
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
