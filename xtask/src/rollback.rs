//! `make rollback`: all traffic to the version that served before. The schema stays: it was made to carry both.
//!
//! A Rollout in the middle is stopped, which gives the traffic back at once; after one, its old pods are still up for a while, and all
//! traffic goes back to them in one step, without another analysis.

use std::{process::ExitCode, time::Duration};

use serde_json::{Value, json};

use crate::{
    checkout::Checkout,
    cluster::{APP, Cluster, has_rollout},
    error::TaskError,
    image::Image,
    program::seconds,
    rollout::{Followed, RolloutState, served},
    say,
};

/// Pods that are gone must be started anew.
const ROLLBACK_SECONDS: f64 = 600.0;
/// What the controller of Argo Rollouts writes on the pods of a version.
const HASH_LABEL: &str = "rollouts-pod-template-hash";

/// With `from`, only if that is the image in place, so that it can be run twice.
pub(crate) fn run(checkout: &Checkout, environment: &str, from: &str) -> Result<ExitCode, TaskError> {
    let cluster = Cluster::of(environment)?;
    let limit = seconds("ROLLBACK_LIMIT", ROLLBACK_SECONDS)?;
    if !from.is_empty() {
        Image::parse(from)?;
    }
    let deployed = cluster.deployed_image().map_err(|error| {
        TaskError::Refused(format!(
            "the cluster does not say what runs in {environment}: {}",
            error.chain()
        ))
    })?;
    let Some(deployed) = deployed else {
        return TaskError::refused(format!("nothing runs in {environment}"));
    };
    if !from.is_empty() && deployed != from {
        say(&format!(
            "{environment} is set to {deployed}, not to {from}: nothing to take back"
        ));
        return Ok(ExitCode::SUCCESS);
    }
    if has_rollout(&Cluster::rendered(&checkout.path("k8s").join(environment))?) {
        cluster.roll_back_rollout(limit)?;
    } else {
        cluster.roll_back_deployment(&deployed, limit)?;
    }
    let image = cluster.deployed_image()?.unwrap_or_default();
    say(&format!("{environment} is back on {image}"));
    Ok(ExitCode::SUCCESS)
}

impl Cluster {
    fn roll_back_rollout(&self, limit: Duration) -> Result<(), TaskError> {
        let environment = self.environment;
        let state = self.until_seen();
        let stable = state.stable.clone();
        if !state.is_seen {
            // What it finds when it comes back is to be what serves.
            if !stable.is_empty() {
                self.set_version(&stable)?;
            }
            return Err(self.not_seen(&state));
        }
        if stable.is_empty() {
            return TaskError::refused(format!(
                "no version has ever served in {environment}: there is nothing to go back to"
            ));
        }
        let target = self.start_back(&state)?;
        let state = self.until_seen();
        if !state.is_seen {
            return Err(self.not_seen(&state));
        }
        // What served before was judged when it was new.
        if state.current != state.stable && state.current == target {
            self.patch_status("promoteFull")?;
        }
        if self.follow_rollout(limit) == Followed::Serves {
            return Ok(());
        }
        TaskError::refused(format!(
            "{environment} was set back to {target}, but is not well; see: kubectl --namespace {environment} get pods"
        ))
    }

    /// Sets the version that is to serve, and returns it.
    fn start_back(&self, state: &RolloutState) -> Result<String, TaskError> {
        let (current, stable) = (&state.current, &state.stable);
        if current != stable && state.is_promoted {
            say(&format!("Already on the way from {stable} back to {current}"));
            return Ok(current.clone());
        }
        if current != stable {
            say(&format!(
                "Stopping the roll-out of {current}: the traffic goes back to {stable}"
            ));
            self.patch_status("abort")?;
            // The version, too: otherwise the one that failed would stay the one that is wanted, and could not be tried again.
            self.set_version(stable)?;
            return Ok(stable.clone());
        }
        let versions = served(&self.rollout()?.unwrap_or_default());
        let Some((target, earlier)) = before(&versions, stable) else {
            let environment = self.environment;
            return TaskError::refused(format!(
                "no version is known to have served before {stable}; deploy one: make deploy ENVIRONMENT={environment} IMAGE=..."
            ));
        };
        say(&format!("From {stable} back to {target}"));
        self.set_version(&target)?;
        // So that another rollback goes on to the one before, and not back to this.
        _ = self.set_served(&earlier);
        Ok(target)
    }

    fn patch_status(&self, field: &str) -> Result<(), TaskError> {
        let patch = json!({"status": {field: true}}).to_string();
        self.run(&[
            "patch",
            "rollout",
            APP,
            "--subresource=status",
            "--type=merge",
            "--patch",
            &patch,
        ])
    }

    /// The Deployment gets the pods of that version; the Rollout follows it.
    fn set_version(&self, version: &str) -> Result<(), TaskError> {
        let selector = format!("app={APP},{HASH_LABEL}={version}");
        let found = self.list(&["replicasets", "--selector", &selector])?;
        let Some(pods) = found.first().map(pods_of) else {
            let environment = self.environment;
            return TaskError::refused(format!(
                "version {version} is no longer known to the cluster; deploy its image: make deploy ENVIRONMENT={environment} IMAGE=..."
            ));
        };
        let patch = json!([{"op": "replace", "path": "/spec/template", "value": pods}]).to_string();
        self.run(&["patch", "deployment", APP, "--type=json", "--patch", &patch])
    }

    fn not_seen(&self, state: &RolloutState) -> TaskError {
        let (environment, remark) = (self.environment, state.remark(" (", ")"));
        TaskError::Refused(format!(
            "the controller of Argo Rollouts does not react{remark}: kubectl --namespace argo-rollouts get pods. Until it does, traffic is \
             moved by the weights of: kubectl --namespace {environment} edit virtualservice mapleai"
        ))
    }

    fn roll_back_deployment(&self, deployed: &str, limit: Duration) -> Result<(), TaskError> {
        let environment = self.environment;
        if self.run(&["rollout", "undo", &format!("deployment/{APP}")]).is_err() {
            return TaskError::refused(format!(
                "there is no version before {deployed} in {environment} (above)"
            ));
        }
        if self.follow_deployment(limit)? == Followed::Serves {
            return Ok(());
        }
        TaskError::refused(format!(
            "{environment} was set back, but is not well; see: kubectl --namespace {environment} get pods"
        ))
    }
}

/// The latest version that served before the one that serves now, and those before it.
fn before(versions: &[String], serves: &str) -> Option<(String, Vec<String>)> {
    let at = versions.iter().position(|version| version != serves)?;
    Some((versions[at].clone(), versions[at + 1..].to_vec()))
}

/// The pods of a ReplicaSet as a Deployment has them: without the label that makes them this version's.
fn pods_of(replica_set: &Value) -> Value {
    let mut pods = replica_set["spec"]["template"].clone();
    if let Some(labels) = pods["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH_LABEL);
    }
    pods
}

#[cfg(test)]
mod tests {
    use super::{before, pods_of};
    use serde_json::json;

    fn versions(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_version_before_is_the_latest_that_is_not_the_one_that_serves() {
        assert_eq!(
            before(&versions(&["c", "b", "a"]), "c"),
            Some(("b".to_owned(), versions(&["a"])))
        );
        assert_eq!(
            before(&versions(&["b", "a"]), "c"),
            Some(("b".to_owned(), versions(&["a"])))
        );
        assert_eq!(before(&versions(&["c"]), "c"), None);
        assert_eq!(before(&[], "c"), None);
    }

    #[test]
    fn pods_lose_the_hash_of_their_version_and_nothing_else() {
        let labels = json!({"app": "mapleai-app", "rollouts-pod-template-hash": "abc"});
        let set = json!({"spec": {"template": {"metadata": {"labels": labels}, "spec": {"containers": []}}}});
        assert_eq!(
            pods_of(&set),
            json!({"metadata": {"labels": {"app": "mapleai-app"}}, "spec": {"containers": []}})
        );
    }
}
