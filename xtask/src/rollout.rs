//! A roll-out, followed. A Rollout takes its pods from the Deployment of the same name (workloadRef), so a version is changed there, and what
//! the Rollout says counts only once its controller has seen the Deployment as it is.

mod follow;

use serde_json::Value;

/// The versions that served, by their hash, latest first. The Rollout's own revisions also have those that failed.
const SERVED_ANNOTATION: &str = "mapleai.dev/served";
const MAX_SERVED: usize = 5;

/// What a Rollout says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct RolloutState {
    pub(crate) phase: String,
    pub(crate) message: String,
    /// The hash of the version that is wanted, and of the one that serves; empty where there is none.
    pub(crate) current: String,
    pub(crate) stable: String,
    /// Whether the version that is wanted gets all traffic without further steps.
    pub(crate) is_promoted: bool,
    /// Whether somebody or an analysis stopped it.
    pub(crate) is_aborted: bool,
    /// Whether all of this is about the Deployment as it is now: before, a Rollout is still as healthy as the version before made it.
    pub(crate) is_seen: bool,
    step: u64,
    weight: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Moving,
    Serves,
    Inconclusive,
    Degraded,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followed {
    /// The new version serves everybody.
    Serves,
    /// Its analysis cannot judge it, and the roll-out waits for somebody to decide.
    Inconclusive,
    Stuck,
}

impl RolloutState {
    pub(crate) fn read(deployment: &Value, rollout: &Value) -> Self {
        let status = &rollout["status"];
        let is_same = |metadata: &Value, observed: &Value| text(&metadata["generation"]) == text(observed);
        Self {
            phase: text(&status["phase"]),
            message: text(&status["message"]),
            current: text(&status["currentPodHash"]),
            stable: text(&status["stableRS"]),
            is_promoted: status["promoteFull"] == true,
            is_aborted: status["abort"] == true,
            is_seen: is_same(&rollout["metadata"], &status["observedGeneration"])
                && is_same(&deployment["metadata"], &status["workloadObservedGeneration"]),
            step: status["currentStepIndex"].as_u64().unwrap_or_default(),
            weight: status["canary"]["weights"]["canary"]["weight"]
                .as_u64()
                .unwrap_or_default(),
        }
    }

    fn progress(&self) -> Progress {
        match self.phase.as_str() {
            _ if !self.is_seen => Progress::Moving,
            "Healthy" if self.current == self.stable => Progress::Serves,
            "Paused" if self.message.contains("Inconclusive") => Progress::Inconclusive,
            "Degraded" => Progress::Degraded,
            _ => Progress::Moving,
        }
    }

    /// What it says besides, after `separator`.
    pub(crate) fn remark(&self, before: &str, after: &str) -> String {
        if self.message.is_empty() {
            return String::new();
        }
        format!("{before}{}{after}", self.message)
    }

    fn line(&self) -> String {
        if !self.is_seen {
            return format!("the controller has not seen it yet{}", self.remark(" (", ")"));
        }
        let phase = if self.phase.is_empty() {
            "no phase yet"
        } else {
            &self.phase
        };
        let (step, weight) = (self.step, self.weight);
        format!(
            "step {step}, {weight} % of the traffic: {phase}{}",
            self.remark(", ", "")
        )
    }
}

/// A number or a text, as text.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The versions that served, latest first.
pub(crate) fn served(rollout: &Value) -> Vec<String> {
    let list = rollout["metadata"]["annotations"][SERVED_ANNOTATION]
        .as_str()
        .unwrap_or_default();
    list.split_whitespace().map(str::to_owned).collect()
}

fn with_latest(serves: &str, before: &[String]) -> Vec<String> {
    let others = before.iter().map(String::as_str).filter(|version| *version != serves);
    [serves]
        .into_iter()
        .chain(others)
        .take(MAX_SERVED)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Progress, RolloutState, served, with_latest};
    use serde_json::{Value, json};

    fn state(status: &Value) -> RolloutState {
        let deployment = json!({"metadata": {"generation": 7}});
        RolloutState::read(&deployment, &json!({"metadata": {"generation": 3}, "status": status}))
    }

    #[test]
    fn what_a_rollout_says_counts_once_its_controller_has_seen_both_objects() {
        for (own, workload, is_seen) in [("3", "7", true), ("2", "7", false), ("3", "6", false)] {
            let status = json!({"observedGeneration": own, "workloadObservedGeneration": workload, "phase": "Healthy"});
            let state = state(&status);
            assert_eq!(state.is_seen, is_seen);
            assert_eq!(
                state.progress(),
                if is_seen { Progress::Serves } else { Progress::Moving }
            );
        }
        assert!(!state(&Value::Null).is_seen);
    }

    #[test]
    fn each_phase_is_told_apart_and_shown() {
        let seen = |more: Value| {
            let mut status = json!({"observedGeneration": "3", "workloadObservedGeneration": "7", "stableRS": "old", "currentPodHash": "new",
                "currentStepIndex": 2, "canary": {"weights": {"canary": {"weight": 50}}}});
            status
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            state(&status)
        };
        for (more, progress, line) in [
            (json!({}), Progress::Moving, "no phase yet"),
            (
                json!({"phase": "Progressing", "message": "more"}),
                Progress::Moving,
                "Progressing, more",
            ),
            (json!({"phase": "Healthy"}), Progress::Moving, "Healthy"),
            (
                json!({"phase": "Healthy", "stableRS": "new"}),
                Progress::Serves,
                "Healthy",
            ),
            (
                json!({"phase": "Paused", "message": "manually paused"}),
                Progress::Moving,
                "Paused, manually paused",
            ),
            (
                json!({"phase": "Paused", "message": "InconclusiveAnalysisRun"}),
                Progress::Inconclusive,
                "Paused, InconclusiveAnalysisRun",
            ),
            (json!({"phase": "Degraded"}), Progress::Degraded, "Degraded"),
        ] {
            let state = seen(more);
            assert_eq!(state.progress(), progress, "{state:?}");
            assert_eq!(state.line(), format!("step 2, 50 % of the traffic: {line}"));
        }
        let unseen = RolloutState {
            message: "invalid spec".to_owned(),
            ..RolloutState::default()
        };
        assert_eq!(unseen.line(), "the controller has not seen it yet (invalid spec)");
    }

    #[test]
    fn the_latest_five_versions_are_kept_and_each_once() {
        let before: Vec<_> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        assert_eq!(with_latest("c", &before), ["c", "a", "b", "d", "e"]);
        assert_eq!(with_latest("f", &before), ["f", "a", "b", "c", "d"]);
        assert_eq!(with_latest("f", &[]), ["f"]);
        let rollout = json!({"metadata": {"annotations": {"mapleai.dev/served": "a b"}}});
        assert_eq!(served(&rollout), ["a", "b"]);
        assert!(served(&json!({})).is_empty());
    }
}
