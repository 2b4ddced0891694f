//! The deployment strategy's checklist, item by item.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Phase,
    evidence::{Evidence, Finding},
    migrations,
};

/// One thing that must be shown.
pub(super) struct Item {
    pub(super) phase: Phase,
    /// Also the name of its evidence's file, without `.json`.
    pub(super) name: &'static str,
    pub(super) asks: &'static str,
    shown_by: ShownBy,
}

/// What counts.
enum ShownBy {
    /// Evidence that this command wrote when it passed.
    Program(&'static str),
    /// The same, no older than so many hours.
    RecentProgram(&'static str, i64),
    /// Evidence of a program or a person, no older than so many hours.
    Recent(&'static str, i64),
    /// Somebody's word, with their name.
    Person,
    /// The files in `migrations/`, and a person's word on those that take something away.
    Migrations,
    /// Text in a file of the checkout.
    Text(&'static str, &'static str),
}

const fn item(phase: Phase, name: &'static str, asks: &'static str, shown_by: ShownBy) -> Item {
    Item {
        phase,
        name,
        asks,
        shown_by,
    }
}

pub(super) const ALL: &[Item] = &[
    item(Phase::Pre, "tests", "all tests pass", ShownBy::Program("make test")),
    item(
        Phase::Pre,
        "scan",
        "the security scan is clean",
        ShownBy::Program("make scan"),
    ),
    item(
        Phase::Pre,
        "benchmark",
        "the benchmark meets its bounds",
        ShownBy::Program("make bench-check"),
    ),
    item(
        Phase::Pre,
        "migrations",
        "migrations are reversible, and destructive ones reviewed",
        ShownBy::Migrations,
    ),
    item(
        Phase::Pre,
        "compatibility",
        "the previous release runs on the new schema",
        ShownBy::Program("make compatibility"),
    ),
    item(
        Phase::Pre,
        "rollback-plan",
        "the way back is written down",
        ShownBy::Text("docs/DEPLOYMENT.md", "## Rolling back"),
    ),
    item(
        Phase::Pre,
        "backup",
        "a backup of the last 24 hours exists",
        ShownBy::Recent("the backup job, or make evidence ITEM=backup BY=...", 24),
    ),
    item(
        Phase::Pre,
        "documentation",
        "the documentation is up to date",
        ShownBy::Person,
    ),
    item(Phase::Pre, "approval", "the stakeholders agree", ShownBy::Person),
    item(
        Phase::During,
        "staging",
        "the same image runs in staging first",
        ShownBy::Program("make deploy ENVIRONMENT=staging"),
    ),
    item(
        Phase::During,
        "smoke",
        "smoke tests, health, migrations and providers are well",
        ShownBy::Program("make smoke"),
    ),
    item(
        Phase::During,
        "traffic",
        "the load balancer and DNS lead to it",
        ShownBy::Program("make deploy ENVIRONMENT=production"),
    ),
    item(
        Phase::Post,
        "error-rate",
        "the error rate is within its bound",
        ShownBy::RecentProgram("make measure", 2),
    ),
    item(
        Phase::Post,
        "latency",
        "response times are within their bound",
        ShownBy::RecentProgram("make measure", 2),
    ),
    item(
        Phase::Post,
        "business",
        "models answer people and programs",
        ShownBy::RecentProgram("make measure", 2),
    ),
    item(
        Phase::Post,
        "notification",
        "those concerned were told",
        ShownBy::Recent("make notify, or make evidence ITEM=notification BY=...", 24),
    ),
    item(Phase::Post, "status-page", "the status page says so", ShownBy::Person),
    item(
        Phase::Post,
        "issues",
        "what went wrong is written down",
        ShownBy::Person,
    ),
];

impl Item {
    /// Whether it has been shown for `commit`. `folder` holds the commit's evidence.
    pub(super) fn look(&self, folder: &Path, commit: &str, checkout: &Path, now: DateTime<Utc>) -> Finding {
        let evidence = || Evidence::read(folder, self.name, commit);
        let evidence = match &self.shown_by {
            ShownBy::Program(by) => evidence().and_then(|evidence| evidence.holds_by(by)),
            ShownBy::RecentProgram(by, hours) => evidence().and_then(|evidence| {
                let detail = evidence.holds_by(by)?;
                evidence.is_recent(now, TimeDelta::hours(*hours))?;
                Ok(detail)
            }),
            ShownBy::Recent(_, hours) => evidence().and_then(|evidence| {
                let detail = evidence.holds()?;
                evidence.is_recent(now, TimeDelta::hours(*hours))?;
                Ok(detail)
            }),
            ShownBy::Person => evidence().and_then(|evidence| evidence.has_a_name()),
            ShownBy::Migrations => migrations::look(&checkout.join("migrations")),
            ShownBy::Text(file, text) => mentions(&checkout.join(file), text),
        };
        match evidence {
            Ok(detail) => Finding::Shown(detail),
            Err(problem) => Finding::Missing(match &self.shown_by {
                ShownBy::Program(by) | ShownBy::RecentProgram(by, _) | ShownBy::Recent(by, _) => {
                    format!("{problem}; shown by: {by}")
                }
                ShownBy::Person => format!(
                    "{problem}; who can say so writes: make evidence ITEM={} BY=\"their name\"",
                    self.name
                ),
                ShownBy::Migrations | ShownBy::Text(..) => problem,
            }),
        }
    }
}

fn mentions(file: &Path, text: &str) -> Result<String, String> {
    match std::fs::read_to_string(file) {
        Ok(content) if content.contains(text) => Ok(format!("{} has \"{text}\"", file.display())),
        Ok(_) => Err(format!("{} has no \"{text}\"", file.display())),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    }
}
