//! What runs in an environment, by kubectl alone, without the plug-in of Argo Rollouts: the way back must not hang on a tool that may be
//! missing when it is needed.

use std::{process::Command, time::Duration};

use serde_json::Value;

use crate::{
    environment::Environment,
    error::TaskError,
    program::{self, is_on_path, seconds},
};

pub(crate) const APP: &str = "mapleai-app";

pub(crate) struct Cluster {
    pub(crate) environment: Environment,
    pub(crate) poll_interval: Duration,
    /// The controller looks within seconds; after so many it does not run, or cannot make sense of the Rollout.
    pub(crate) seen_limit: Duration,
}

impl Cluster {
    pub(crate) fn of(environment: &str) -> Result<Self, TaskError> {
        let environment = Environment::parse(environment)?;
        if !is_on_path("kubectl") {
            return TaskError::refused(
                "kubectl is missing: install version 1.30 or newer (https://kubernetes.io/docs/tasks/tools/)",
            );
        }
        Ok(Self {
            environment,
            poll_interval: seconds("POLL_SECONDS", 3.0)?,
            seen_limit: seconds("SEEN_LIMIT", 120.0)?,
        })
    }

    /// In the environment's namespace.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(["--namespace", self.environment.name(), "--request-timeout=30s"])
            .args(arguments);
        command
    }

    /// Changes or shows something; what kubectl prints is for the terminal.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<(), TaskError> {
        program::run(&mut self.kubectl(arguments))
    }

    /// For whoever reads the log: it may fail.
    pub(crate) fn show(&self, arguments: &[&str]) {
        _ = self.run(arguments);
    }

    /// An object, or nothing if there is none.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Result<Option<Value>, TaskError> {
        program::json(&mut self.kubectl(&["get", kind, name, "--ignore-not-found", "--output", "json"]))
    }

    /// Several objects, or those that a selector finds.
    pub(crate) fn list(&self, arguments: &[&str]) -> Result<Vec<Value>, TaskError> {
        let mut command = self.kubectl(&["get", "--output", "json"]);
        let list = program::json(command.args(arguments))?;
        Ok(list
            .and_then(|mut list| list["items"].as_array_mut().map(std::mem::take))
            .unwrap_or_default())
    }

    pub(crate) fn rollout(&self) -> Result<Option<Value>, TaskError> {
        self.get("rollout", APP)
    }

    /// What the Deployment is to run; nothing when there is none.
    pub(crate) fn deployed_image(&self) -> Result<Option<String>, TaskError> {
        Ok(self.get("deployment", APP)?.as_ref().and_then(image_of))
    }

    /// The manifests of a folder, as they are applied.
    pub(crate) fn rendered(folder: &std::path::Path) -> Result<String, TaskError> {
        program::output(Command::new("kubectl").arg("kustomize").arg(folder))
    }
}

/// Whether manifests roll out by Argo Rollouts. By what is to be applied: a cluster that does not answer must not look like one without a
/// Rollout.
pub(crate) fn has_rollout(manifests: &str) -> bool {
    manifests.lines().any(|line| line == "kind: Rollout")
}

fn image_of(deployment: &Value) -> Option<String> {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array()?;
    let container = containers.iter().find(|container| container["name"] == APP)?;
    container["image"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{has_rollout, image_of};
    use serde_json::json;

    #[test]
    fn the_image_is_that_of_the_container_of_the_service() {
        let containers = json!([{"name": "sidecar", "image": "a"}, {"name": "mapleai-app", "image": "b"}]);
        let deployment = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        assert_eq!(image_of(&deployment).as_deref(), Some("b"));
        assert_eq!(image_of(&json!({})), None);
    }

    #[test]
    fn a_rollout_is_an_object_and_no_mention_of_one() {
        assert!(has_rollout(
            "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {}\n"
        ));
        assert!(!has_rollout("    kind: Rollout\nkind: RolloutPlan\n"));
    }
}
