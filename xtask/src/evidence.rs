//! `make evidence`: writes down that something was shown of this commit, for `mapleai checklist`.
//!
//! What programs show of a checkout with changes is shown of no commit.

use std::{fs, process::ExitCode};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::{checkout::Checkout, error::TaskError, say};

const MAX_ITEM: usize = 41;

#[derive(Debug, Serialize)]
struct Evidence<'a> {
    item: &'a str,
    commit: &'a str,
    outcome: &'a str,
    by: String,
    detail: String,
    at: String,
}

pub(crate) fn run(
    checkout: &Checkout,
    item: &str,
    outcome: &str,
    by: &str,
    detail: &str,
) -> Result<ExitCode, TaskError> {
    write(checkout, item, outcome, by, detail)?;
    Ok(ExitCode::SUCCESS)
}

/// `by` is the command that showed it, or a person's name.
pub(crate) fn write(checkout: &Checkout, item: &str, outcome: &str, by: &str, detail: &str) -> Result<(), TaskError> {
    if !is_item(item) {
        return TaskError::refused(format!(
            "ITEM is of lower-case letters and '-', such as approval; not '{item}'"
        ));
    }
    if !matches!(outcome, "passed" | "failed") {
        return TaskError::refused(format!("the outcome is 'passed' or 'failed', not '{outcome}'"));
    }
    if by.trim().is_empty() {
        return TaskError::refused("BY must say who or what showed it");
    }
    if by.starts_with("make ") && !checkout.changes()?.is_empty() {
        say(&format!(
            "No evidence of '{item}' was written: the checkout has changes that are in no commit"
        ));
        return Ok(());
    }
    let commit = checkout.head()?;
    let shown = format!(".local/evidence/{commit}/{item}.json");
    let file = checkout.path(&shown);
    let beside = file.with_extension("json.new");
    let evidence = evidence(item, &commit, outcome, by, detail, now());
    let text = serde_json::to_string(&evidence).map_err(|source| TaskError::NotJson {
        command: shown.clone(),
        source,
    })?;
    let written = fs::create_dir_all(checkout.path(".local/evidence").join(&commit))
        .and_then(|()| fs::write(&beside, text + "\n"))
        .and_then(|()| fs::rename(&beside, &file));
    written.map_err(TaskError::file(&file))?;
    say(&format!("evidence of '{item}' ({outcome}): {shown}"));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a command has no other clock")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn evidence<'a>(
    item: &'a str,
    commit: &'a str,
    outcome: &'a str,
    by: &str,
    detail: &str,
    at: DateTime<Utc>,
) -> Evidence<'a> {
    let line = |text: &str| text.chars().filter(|c| !c.is_control()).collect();
    Evidence {
        item,
        commit,
        outcome,
        by: line(by),
        detail: line(detail),
        at: at.to_rfc3339_opts(SecondsFormat::Secs, true),
    }
}

/// Also the name of a file.
fn is_item(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    text.len() <= MAX_ITEM && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::{evidence, is_item};
    use chrono::DateTime;

    #[test]
    fn it_is_one_line_of_json() {
        let at = DateTime::from_timestamp(1_764_547_200, 500_000_000).unwrap();
        let evidence = evidence(
            "approval",
            "c0ffee",
            "passed",
            "Ada \"the first\" \\ L.",
            "line\nbreak\t",
            at,
        );
        assert_eq!(
            serde_json::to_string(&evidence).unwrap(),
            r#"{"item":"approval","commit":"c0ffee","outcome":"passed","by":"Ada \"the first\" \\ L.","detail":"linebreak","at":"2025-12-01T00:00:00Z"}"#
        );
    }

    #[test]
    fn an_item_names_a_file_in_its_folder() {
        for text in ["a", "status-page", &"a".repeat(41)] {
            assert!(is_item(text), "{text}");
        }
        for text in ["", "-a", "../tests", "Tests", "a.b", "a/b", &"a".repeat(42)] {
            assert!(!is_item(text), "{text}");
        }
    }
}
