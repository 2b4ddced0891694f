//! `cargo xtask previous`: the commit of the previous release and the path of its binary, which is built when it is not in the cache and has
//! its configuration beside it.
//!
//! The commit that MAPLE_PREVIOUS names, or the last tag before this commit. While there is no tag, the commit in
//! `scripts/delivery/released`, which is what runs; in a history without that one, the newest commit that lacks a migration of ours and whose
//! own are all among ours, by number, name and content. One that numbered them otherwise cannot share a schema with us, and was no release.

mod build;

use std::{collections::BTreeSet, fs, path::PathBuf, process::ExitCode};

use crate::{checkout::Checkout, error::TaskError, program::variable, say};

pub(crate) struct Release {
    pub(crate) commit: String,
    pub(crate) binary: PathBuf,
}

pub(crate) fn run(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    let Release { commit, binary } = ensure(checkout)?;
    say(&format!("{commit} {}", binary.display()));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn ensure(checkout: &Checkout) -> Result<Release, TaskError> {
    if checkout.ask_git(&["rev-parse", "--is-shallow-repository"]).as_deref() != Some("false") {
        return TaskError::refused("the history is cut off; fetch all of it (git fetch --unshallow)");
    }
    let commit = find(checkout)?;
    let binary = Checkout::cache().join("releases").join(&commit).join("mapleai");
    if !binary.is_file() {
        build::build(checkout, &commit, &binary)?;
    }
    Ok(Release { commit, binary })
}

fn find(checkout: &Checkout) -> Result<String, TaskError> {
    if let Some(name) = variable("MAPLE_PREVIOUS") {
        let commit = checkout.ask_git(&["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")]);
        return commit.ok_or_else(|| TaskError::Refused(format!("there is no commit {name}")));
    }
    let tag = checkout.ask_git(&["describe", "--tags", "--abbrev=0", "HEAD^"]);
    if let Some(commit) = tag.and_then(|tag| checkout.ask_git(&["rev-list", "-n", "1", &tag])) {
        return Ok(commit);
    }
    let released = fs::read_to_string(checkout.path("scripts/delivery/released")).unwrap_or_default();
    let released = released.trim();
    if !released.is_empty()
        && checkout
            .ask_git(&["merge-base", "--is-ancestor", released, "HEAD"])
            .is_some()
    {
        return Ok(released.to_owned());
    }
    by_migrations(checkout)
}

fn by_migrations(checkout: &Checkout) -> Result<String, TaskError> {
    let listed = checkout
        .ask_git(&["ls-files", "migrations/*.up.sql"])
        .unwrap_or_default();
    let Some(newest) = listed.lines().max() else {
        return TaskError::refused("there is no migration in migrations/");
    };
    if checkout
        .ask_git(&["cat-file", "-e", &format!("HEAD:{newest}")])
        .is_none()
    {
        return TaskError::refused(format!("{newest} is in no commit yet; commit it first"));
    }
    let ours = migrations(checkout, "HEAD");
    // By the first parents: one may have come with a merge, to which git log alone would not own up.
    let log = ["log", "--first-parent", "-m", "--format=%H", "--", "migrations/"];
    for changed in checkout.ask_git(&log).unwrap_or_default().lines() {
        let Some(before) = checkout.ask_git(&["rev-parse", "--verify", "--quiet", &format!("{changed}^")]) else {
            break;
        };
        if can_share_a_schema(&migrations(checkout, &before), &ours) {
            return Ok(before);
        }
    }
    TaskError::refused(format!(
        "{newest} came with the first commit: there is no previous release"
    ))
}

/// Mode, content and name of each.
fn migrations(checkout: &Checkout, commit: &str) -> BTreeSet<String> {
    let listed = checkout
        .ask_git(&["ls-tree", commit, "migrations/"])
        .unwrap_or_default();
    listed
        .lines()
        .filter(|line| line.ends_with(".up.sql"))
        .map(str::to_owned)
        .collect()
}

/// Whether all of an older commit's migrations are among ours, and one of ours is not among its.
fn can_share_a_schema(theirs: &BTreeSet<String>, ours: &BTreeSet<String>) -> bool {
    theirs != ours && theirs.is_subset(ours)
}

#[cfg(test)]
mod tests {
    use super::can_share_a_schema;
    use std::collections::BTreeSet;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_older_schema_is_a_part_of_ours() {
        let ours = set(&["1", "2"]);
        assert!(can_share_a_schema(&set(&["1"]), &ours) && can_share_a_schema(&set(&[]), &ours));
        assert!(!can_share_a_schema(&ours, &ours), "nothing is new since");
        assert!(
            !can_share_a_schema(&set(&["1", "3"]), &ours),
            "it numbered them otherwise"
        );
    }
}
