//! The Job that brings the database up to date: found in the manifests, started by applying them, and awaited.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Deployment, untouched};
use crate::error::TaskError;

impl Deployment<'_> {
    /// A Job runs once. One that ended, well or not, makes room: migrating again does nothing where nothing is to be done.
    pub(super) fn make_room_for(&self, job: &str) -> Result<(), TaskError> {
        let found = self
            .cluster
            .get("job", job)
            .map_err(|error| untouched(&format!("the cluster does not say what became of {job}"), &error))?;
        if found.is_some_and(|found| has(&found, "Complete") || has(&found, "Failed")) {
            self.cluster.run(&[
                "delete",
                "job",
                job,
                "--ignore-not-found",
                "--cascade=foreground",
                "--timeout=60s",
            ])?;
        }
        Ok(())
    }

    /// A look that fails is not the last: only the limit ends the waiting.
    pub(super) fn await_migration(&self, job: &str, limit: Duration) -> Result<(), TaskError> {
        let deadline = Instant::now() + limit;
        loop {
            let found = self.cluster.get("job", job).ok().flatten().unwrap_or_default();
            if has(&found, "Complete") {
                return Ok(());
            }
            let failed = has(&found, "Failed");
            if failed || Instant::now() >= deadline {
                self.cluster
                    .show(&["get", "pods", "--selector", &format!("job-name={job}")]);
                self.cluster.show(&["logs", &format!("job/{job}"), "--tail", "50"]);
                let state = if failed { " (Failed)" } else { "" };
                return TaskError::refused(format!(
                    "the migration did not complete{state}; nothing that serves was touched"
                ));
            }
            thread::sleep(self.cluster.poll_interval);
        }
    }
}

/// The name of the migration Job: that of an object, and no mention of it.
pub(super) fn migration_in(manifests: &str) -> Option<&str> {
    manifests.lines().find_map(|line| {
        let name = line.strip_prefix("  name: ")?;
        let digits = name.strip_prefix("mapleai-migrate-")?;
        let is_hash = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then_some(name)
    })
}

/// Whether a condition of a Job's is true.
fn has(job: &Value, condition: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one["type"] == condition && one["status"] == "True")
    })
}

#[cfg(test)]
mod tests {
    use super::{has, migration_in};
    use serde_json::{Value, json};

    #[test]
    fn the_migration_is_an_object_of_its_own() {
        let text = "kind: Job\nmetadata:\n  labels: {}\n  name: mapleai-migrate-0123abcd\n";
        assert_eq!(migration_in(text), Some("mapleai-migrate-0123abcd"));
        assert_eq!(
            migration_in("    name: mapleai-migrate-0123\n  name: mapleai-migrate-old-one\n"),
            None
        );
    }

    #[test]
    fn a_job_ended_by_a_condition_that_is_true() {
        let job = json!({"status": {"conditions": [{"type": "Complete", "status": "False"}, {"type": "Failed", "status": "True"}]}});
        assert!(has(&job, "Failed") && !has(&job, "Complete"));
        assert!(!has(&Value::Null, "Complete"));
    }
}
