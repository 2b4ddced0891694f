//! `make deploy`: the database first, then what serves, followed to its end.
//!
//! Everything but what serves is applied; the migration Job, named after the image, is awaited; then come the Deployment and the Rollout. A
//! new version that does not get through is taken back, and this ends with 1. One that there is too little traffic to judge waits for
//! somebody to decide, and this ends with 3. It can be run again at any time.

mod migration;
mod review;

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::PathBuf,
    process::{Command, ExitCode},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    checkout::Checkout,
    cluster::{APP, Cluster, has_rollout},
    environment::Environment,
    error::TaskError,
    evidence, pin,
    program::{self, seconds, variable},
    rollback,
    rollout::{Followed, RolloutState},
    say,
};
use migration::migration_in;

/// A migration has 15 minutes by itself.
const MIGRATION_SECONDS: f64 = 960.0;
/// Ten minutes for its pods and some four for each analysis.
const ROLLOUT_SECONDS: f64 = 3600.0;
/// What this ends with when somebody has to decide.
const UNDECIDED: u8 = 3;

struct Deployment<'a> {
    checkout: &'a Checkout,
    cluster: Cluster,
    image: &'a str,
    /// What is applied.
    manifests: PathBuf,
    has_rollout: bool,
    rollout_limit: Duration,
}

pub(crate) fn run(checkout: &Checkout, environment: &str, image: &str) -> Result<ExitCode, TaskError> {
    let cluster = Cluster::of(environment)?;
    let (migration_limit, rollout_limit) = (
        seconds("MIGRATION_LIMIT", MIGRATION_SECONDS)?,
        seconds("ROLLOUT_LIMIT", ROLLOUT_SECONDS)?,
    );
    // In a copy: deploying changes nothing in the checkout.
    let work = TempDir::new().map_err(TaskError::file("a temporary folder"))?;
    let parts = [checkout.path("config"), checkout.path("k8s")];
    program::run(Command::new("cp").arg("-R").args(parts).arg(work.path()))?;
    let overlay = work.path().join("k8s").join(cluster.environment.name());
    pin::pin(&overlay, image)?;
    let text = review::handed_over(&Cluster::rendered(&overlay)?, variable);
    let manifests = work.path().join("all.yaml");
    std::fs::write(&manifests, &text).map_err(TaskError::file(&manifests))?;
    let Some(job) = migration_in(&text) else {
        return TaskError::refused(format!("k8s/{environment} has no migration"));
    };
    let has_rollout = has_rollout(&text);
    let deployment = Deployment {
        checkout,
        cluster,
        image,
        manifests,
        has_rollout,
        rollout_limit,
    };
    deployment.perform(job, migration_limit)
}

impl Deployment<'_> {
    fn perform(&self, job: &str, migration_limit: Duration) -> Result<ExitCode, TaskError> {
        let environment = self.cluster.environment;
        let mut before = self.cluster.deployed_image().map_err(|error| {
            let what = format!("the cluster does not say what runs in {environment}");
            untouched(&what, &error)
        })?;
        say(&format!(
            "=== {environment}: from {} to {}",
            before.as_deref().unwrap_or("nothing"),
            self.image
        ));
        self.make_room_for(job)?;
        say("=== What does not serve");
        self.apply("mapleai.dev/stage!=serve")?;
        say(&format!("=== Migration {job}"));
        self.await_migration(job, migration_limit)?;

        say("=== What serves");
        if before.as_deref() == Some(self.image) && self.is_stopped()? {
            say("The last roll-out of this image was stopped; it is taken back whole and begins anew");
            rollback::run(self.checkout, environment.name(), self.image)?;
            before = self.cluster.deployed_image()?;
        }
        // For the pipeline: from here on there is something to take back. What was there before is not taken back for a later fault.
        if before.as_deref() != Some(self.image) {
            output("changed=yes")?;
        }
        if self.has_rollout {
            self.cluster.remember_what_serves()?;
        }
        self.apply("mapleai.dev/stage=serve")?;
        let followed = if self.has_rollout {
            self.cluster.follow_rollout(self.rollout_limit)
        } else {
            self.cluster.follow_deployment(self.rollout_limit)?
        };
        if followed == Followed::Serves {
            self.write_evidence("passed")?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.has_rollout {
            say("=== What its analyses found");
            let columns = "custom-columns=RUN:.metadata.name,PHASE:.status.phase,WHY:.status.message";
            self.cluster.show(&[
                "get",
                "analysisruns",
                "--sort-by",
                ".metadata.creationTimestamp",
                "--output",
                columns,
            ]);
        }
        if followed == Followed::Inconclusive {
            return self.wait_for_somebody();
        }
        self.take_back(before.as_deref())
    }

    /// The objects name their namespaces themselves.
    fn apply(&self, selector: &str) -> Result<(), TaskError> {
        let mut command = Command::new("kubectl");
        command.args(["--request-timeout=60s", "apply", "--selector", selector, "--filename"]);
        program::run(command.arg(&self.manifests))
    }

    fn is_stopped(&self) -> Result<bool, TaskError> {
        let rollout = if self.has_rollout {
            self.cluster.rollout()?
        } else {
            None
        };
        Ok(rollout.is_some_and(|rollout| RolloutState::read(&Value::Null, &rollout).is_aborted))
    }

    fn write_evidence(&self, outcome: &str) -> Result<(), TaskError> {
        let environment = self.cluster.environment;
        let item = match environment {
            Environment::Staging => "staging",
            Environment::Production => "traffic",
        };
        let by = format!("make deploy ENVIRONMENT={environment}");
        evidence::write(self.checkout, item, outcome, &by, self.image)
    }

    /// Nothing speaks against it, so nothing is taken back; nothing speaks for it either, so there is no evidence.
    fn wait_for_somebody(&self) -> Result<ExitCode, TaskError> {
        output("changed=no")?;
        let (environment, image) = (self.cluster.environment, self.image);
        _ = writeln!(
            io::stderr(),
            "{image} has a part of the traffic in {environment} and waits there: its analysis had too little traffic to judge by.\n  \
             to go on:    kubectl argo rollouts --namespace {environment} promote {APP}   (the next step is judged again)\n  \
             to go back:  make rollback ENVIRONMENT={environment}"
        );
        Ok(ExitCode::from(UNDECIDED))
    }

    /// Always an error, which says where the image is now.
    fn take_back(&self, before: Option<&str>) -> Result<ExitCode, TaskError> {
        let (environment, image) = (self.cluster.environment, self.image);
        self.cluster.show(&["get", "pods", "--selector", &format!("app={APP}")]);
        _ = self.write_evidence("failed");
        if before == Some(image) {
            return TaskError::refused(format!(
                "{image} is not well in {environment}. It was there before, so it stays; to go back: make rollback ENVIRONMENT={environment}"
            ));
        }
        if before.is_none() {
            return TaskError::refused(format!(
                "{image} did not get up in {environment}, and there is no version before it"
            ));
        }
        match rollback::run(self.checkout, environment.name(), image) {
            Ok(_) => TaskError::refused(format!(
                "{image} did not get through in {environment} and was taken back"
            )),
            Err(error) => TaskError::refused(format!(
                "{}\nerror: {image} did not get through in {environment} and could not be taken back (above); people are needed",
                error.chain()
            )),
        }
    }
}

fn untouched(what: &str, error: &TaskError) -> TaskError {
    TaskError::Refused(format!("{what}: {}; nothing was touched", error.chain()))
}

/// A line for the steps that follow in a pipeline.
fn output(line: &str) -> Result<(), TaskError> {
    let Some(file) = variable("GITHUB_OUTPUT") else {
        return Ok(());
    };
    let opened = OpenOptions::new().create(true).append(true).open(&file);
    opened
        .and_then(|mut opened| writeln!(opened, "{line}"))
        .map_err(TaskError::file(&file))
}
