//! Looking until something has happened, and saying what is seen meanwhile.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Followed, Progress, RolloutState, SERVED_ANNOTATION, served, text, with_latest};
use crate::{
    cluster::{APP, Cluster},
    error::TaskError,
    program, say,
};

/// A first look may fall between the new version's start and the end of what was said of the one before.
const MAX_DEGRADED_LOOKS: usize = 2;
/// For a server that no longer answers.
const GRACE: Duration = Duration::from_secs(30);

impl Cluster {
    /// Fails when the cluster does not answer.
    pub(crate) fn look_at_rollout(&self) -> Result<RolloutState, TaskError> {
        // Asked for in this order: a change in between makes it unseen, never wrongly seen.
        let found = self.list(&[&format!("deployment/{APP}"), &format!("rollout/{APP}")])?;
        match found.as_slice() {
            [deployment, rollout] => Ok(RolloutState::read(deployment, rollout)),
            _ => TaskError::refused("the cluster shows no Deployment and Rollout"),
        }
    }

    /// The state once the controller has seen the Deployment and the Rollout as they are, or the last one if it does not within its time.
    pub(crate) fn until_seen(&self) -> RolloutState {
        let deadline = Instant::now() + self.seen_limit;
        let mut last = RolloutState::default();
        loop {
            if let Ok(state) = self.look_at_rollout() {
                last = state;
            }
            if last.is_seen || Instant::now() >= deadline {
                return last;
            }
            thread::sleep(self.poll_interval);
        }
    }

    /// Prints every step. A look that fails is not the last: only the limit ends the waiting.
    pub(crate) fn follow_rollout(&self, limit: Duration) -> Followed {
        let began = Instant::now();
        let (mut degraded, mut shown) = (0, String::new());
        loop {
            let looked = self.look_at_rollout();
            let line = looked
                .as_ref()
                .map_or_else(|_| "the cluster does not answer".to_owned(), RolloutState::line);
            if line != shown {
                say(&format!("{:>5} s  {line}", began.elapsed().as_secs()));
                shown.clone_from(&line);
            }
            if looked.as_ref().is_ok_and(|state| !state.is_seen) && began.elapsed() >= self.seen_limit {
                say(&format!("{line}, after {} s", self.seen_limit.as_secs()));
                return Followed::Stuck;
            }
            match looked.as_ref().map_or(Progress::Moving, RolloutState::progress) {
                Progress::Serves => return Followed::Serves,
                Progress::Inconclusive => return Followed::Inconclusive,
                Progress::Degraded => degraded += 1,
                Progress::Moving => degraded = 0,
            }
            if degraded >= MAX_DEGRADED_LOOKS {
                return Followed::Stuck;
            }
            if began.elapsed() >= limit {
                say(&format!("not finished after {} s", limit.as_secs()));
                return Followed::Stuck;
            }
            thread::sleep(self.poll_interval);
        }
    }

    /// Until all pods of the Deployment are of the new version and up.
    pub(crate) fn follow_deployment(&self, limit: Duration) -> Result<Followed, TaskError> {
        let (deployment, timeout) = (format!("deployment/{APP}"), format!("{}s", limit.as_secs()));
        let mut command = std::process::Command::new("kubectl");
        command
            .args(["--namespace", self.environment.name(), "rollout", "status"])
            .args([&deployment, "--timeout", &timeout]);
        let serves = program::ends_well_within(&mut command, limit + GRACE)?;
        Ok(if serves { Followed::Serves } else { Followed::Stuck })
    }

    /// Before a new version comes: the one that serves is what a rollback goes to.
    pub(crate) fn remember_what_serves(&self) -> Result<(), TaskError> {
        let Some(rollout) = self.rollout()? else { return Ok(()) };
        let serves = text(&rollout["status"]["stableRS"]);
        if serves.is_empty() {
            return Ok(());
        }
        self.set_served(&with_latest(&serves, &served(&rollout)))
    }

    pub(crate) fn set_served(&self, versions: &[String]) -> Result<(), TaskError> {
        let annotation = format!("{SERVED_ANNOTATION}={}", versions.join(" "));
        self.run(&["annotate", "rollout", APP, "--overwrite", &annotation])
    }
}
