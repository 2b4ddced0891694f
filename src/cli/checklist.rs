//! `mapleai checklist pre|during|post`: what must be shown before, while and after a commit is deployed.
//!
//! Evidence is one file for each item, under the commit's own folder: the suites and scripts write theirs when they pass,
//! people write theirs with their name (`make evidence ITEM=approval BY="Ada Lovelace"`). What is absent has not been shown
//! and fails, and so does what was shown for another commit. What the checkout itself can tell is looked at here.

mod evidence;
mod items;
mod migrations;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::Command,
};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::CliError;
use domain::clock::Clock;
use evidence::Finding;
use items::Item;

/// Which part of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Phase {
    /// Before anything is deployed
    Pre,
    /// While traffic moves
    During,
    /// Once all of it has moved
    Post,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Checklist {
    #[arg(value_enum)]
    phase: Phase,
    /// The full id of the commit; that of the checkout if not said
    #[arg(long)]
    commit: Option<String>,
    /// The checkout
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Where evidence lies, below it in a folder for each commit
    #[arg(long, default_value = ".local/evidence")]
    evidence: PathBuf,
    /// As one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ChecklistError {
    #[error("--commit must be the 40 hexadecimal digits of a commit, not {0:?}")]
    Commit(String),
    #[error("the checkout's commit is unknown; say --commit")]
    NoCommit(#[source] io::Error),
    #[error("{} of {} items have not been shown: {}", .missing.len(), .all, .missing.join(", "))]
    Incomplete { missing: Vec<&'static str>, all: usize },
}

pub(super) fn run(checklist: &Checklist) -> Result<(), CliError> {
    let commit = match &checklist.commit {
        Some(commit) => commit.clone(),
        None => head(checklist)?,
    };
    if commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ChecklistError::Commit(commit).into());
    }
    let folder = checklist.directory.join(&checklist.evidence).join(&commit);
    let now = Clock::system().now();
    let looked: Vec<(&Item, Finding)> = items::ALL
        .iter()
        .filter(|item| item.phase == checklist.phase)
        .map(|item| (item, item.look(&folder, &commit, &checklist.directory, now)))
        .collect();
    let text = if checklist.json {
        let items: Vec<_> = looked
            .iter()
            .map(|(item, finding)| {
                json!({"item": item.name, "asks": item.asks, "shown": finding.is_shown(), "detail": finding.detail()})
            })
            .collect();
        format!("{:#}\n", json!({"commit": commit, "items": items}))
    } else {
        table(&looked)
    };
    io::stdout().write_all(text.as_bytes()).map_err(CliError::Output)?;
    let missing: Vec<&str> = looked
        .iter()
        .filter(|(_, finding)| !finding.is_shown())
        .map(|(item, _)| item.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all = looked.len();
    Err(ChecklistError::Incomplete { missing, all }.into())
}

fn head(checklist: &Checklist) -> Result<String, ChecklistError> {
    let git = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(&checklist.directory)
        .output()
        .map_err(ChecklistError::NoCommit)?;
    if !git.status.success() {
        let stderr = String::from_utf8_lossy(&git.stderr).trim().to_owned();
        return Err(ChecklistError::NoCommit(io::Error::other(stderr)));
    }
    Ok(String::from_utf8_lossy(&git.stdout).trim().to_owned())
}

fn table(looked: &[(&Item, Finding)]) -> String {
    let mut text = String::new();
    for (item, finding) in looked {
        let mark = if finding.is_shown() { "shown  " } else { "MISSING" };
        text.extend([mark, "  ", &format!("{:<18}", item.name), " ", item.asks, "\n"]);
        text.extend(["         ", &" ".repeat(18), " ", finding.detail(), "\n"]);
    }
    text
}
