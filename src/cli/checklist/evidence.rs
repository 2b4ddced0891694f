//! What was shown, by whom and when: `<evidence>/<commit>/<item>.json`, as `make evidence` writes it.

use std::{fs, io, path::Path};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

/// Whether an item was shown, and the words for it.
pub(super) enum Finding {
    Shown(String),
    Missing(String),
}

impl Finding {
    pub(super) fn is_shown(&self) -> bool {
        matches!(self, Self::Shown(_))
    }

    pub(super) fn detail(&self) -> &str {
        match self {
            Self::Shown(detail) | Self::Missing(detail) => detail,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Evidence {
    item: String,
    commit: String,
    outcome: CheckOutcome,
    /// A command, or a person's name.
    by: String,
    #[serde(default)]
    detail: String,
    at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CheckOutcome {
    Passed,
    Failed,
}

impl Evidence {
    /// That of one item, or why it does not count.
    pub(super) fn read(folder: &Path, item: &str, commit: &str) -> Result<Self, String> {
        let file = folder.join(item).with_extension("json");
        let text = fs::read_to_string(&file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("no evidence for this commit ({})", file.display()),
            _ => format!("{} cannot be read: {error}", file.display()),
        })?;
        let evidence: Self =
            serde_json::from_str(&text).map_err(|error| format!("{} is not understood: {error}", file.display()))?;
        if evidence.commit != commit || evidence.item != item {
            return Err(format!(
                "{} is of item {} and commit {}",
                file.display(),
                evidence.item,
                evidence.commit
            ));
        }
        if evidence.outcome == CheckOutcome::Failed {
            return Err(format!("failed at {}: {}", evidence.at, evidence.detail));
        }
        Ok(evidence)
    }

    /// This program's word; nobody else's counts for it.
    pub(super) fn holds_by(&self, program: &str) -> Result<String, String> {
        if self.by != program {
            return Err(format!("the evidence is by {:?}", self.by));
        }
        self.holds()
    }

    /// Anybody's word, a program's or a person's.
    pub(super) fn holds(&self) -> Result<String, String> {
        if self.by.trim().is_empty() {
            return Err("the evidence does not say what showed it".to_owned());
        }
        Ok(format!(
            "by {}, {}: {}",
            self.by,
            self.at.format("%F %H:%M"),
            self.detail
        ))
    }

    /// A person's word.
    pub(super) fn has_a_name(&self) -> Result<String, String> {
        if self.by.trim().is_empty() {
            return Err("the evidence names nobody".to_owned());
        }
        Ok(format!(
            "{} says so, {}: {}",
            self.by,
            self.at.format("%F %H:%M"),
            self.detail
        ))
    }

    pub(super) fn is_recent(&self, now: DateTime<Utc>, max: TimeDelta) -> Result<(), String> {
        let age = now - self.at;
        if age > max || age < TimeDelta::minutes(-5) {
            return Err(format!(
                "the evidence is of {}, and counts for {} hours",
                self.at.format("%F %H:%M"),
                max.num_hours()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Evidence;
    use chrono::{TimeDelta, Utc};
    use std::fs;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn written(text: &str) -> Result<Evidence, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tests.json"), text).unwrap();
        Evidence::read(folder.path(), "tests", COMMIT)
    }

    fn evidence(commit: &str, outcome: &str, by: &str) -> String {
        format!(
            r#"{{"item":"tests","commit":"{commit}","outcome":"{outcome}","by":"{by}","detail":"x","at":"2026-01-01T00:00:00Z"}}"#
        )
    }

    #[test]
    fn only_what_passed_for_this_commit_counts() {
        assert!(
            written(&evidence(COMMIT, "passed", "make test"))
                .unwrap()
                .holds_by("make test")
                .is_ok()
        );
        assert!(
            written(&evidence(COMMIT, "failed", "make test"))
                .unwrap_err()
                .contains("failed at")
        );
        let by_hand = written(&evidence(COMMIT, "passed", "Ada")).unwrap();
        assert!(by_hand.holds_by("make test").unwrap_err().contains("Ada"));
        let other = COMMIT.replace('0', "f");
        assert!(
            written(&evidence(&other, "passed", "make test"))
                .unwrap_err()
                .contains(&other)
        );
        assert!(written("{}").unwrap_err().contains("not understood"));
        assert!(written(&evidence(COMMIT, "passed", " ")).unwrap().has_a_name().is_err());
        let folder = tempfile::tempdir().unwrap();
        let absent = Evidence::read(folder.path(), "tests", COMMIT).unwrap_err();
        assert!(absent.contains("no evidence"), "{absent}");
    }

    #[test]
    fn old_evidence_and_such_of_the_future_do_not_count() {
        let evidence = written(&evidence(COMMIT, "passed", "x")).unwrap();
        let at: chrono::DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let day = TimeDelta::hours(24);
        assert!(evidence.is_recent(at + TimeDelta::hours(23), day).is_ok());
        assert!(evidence.is_recent(at + TimeDelta::hours(25), day).is_err());
        assert!(evidence.is_recent(at - TimeDelta::hours(1), day).is_err());
    }
}
