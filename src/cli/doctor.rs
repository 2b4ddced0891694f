//! `mapleai doctor`: the examination as a table for people, or as JSON for machines.

use std::io::{self, Write as _};

use serde::Serialize;

use super::CliError;
use crate::app::doctor::{self, Check, Verdict};
use configuration::{Config, load::Sources};

#[derive(Serialize)]
struct Examination<'a> {
    status: Verdict,
    checks: &'a [Check],
}

/// Prints what it found. A fault is an error, so that scripts notice.
pub(super) fn examine(sources: &Sources, json: bool) -> Result<(), CliError> {
    let checks = match Config::load(sources) {
        Ok(config) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(CliError::Runtime)?
            .block_on(doctor::examine(&config)),
        Err(faults) => doctor::unreadable(&faults),
    };
    let status = doctor::verdict(&checks);
    let text = if json {
        let checks = &checks;
        let body = Examination { status, checks };
        // Only text and numbers: it can be written.
        format!("{}\n", serde_json::to_string_pretty(&body).unwrap_or_default())
    } else {
        table(&checks)
    };
    io::stdout().write_all(text.as_bytes()).map_err(CliError::Output)?;
    if status == Verdict::Fail {
        return Err(CliError::Unwell);
    }
    Ok(())
}

fn table(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for check in checks {
        let status = match check.status {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        let indent = " ".repeat(width + 17);
        let finding = check.finding.trim_end().replace('\n', &format!("\n{indent}"));
        lines.push(format!(
            "{:width$}  {status}  {:>5} ms  {finding}\n",
            check.name, check.latency_ms
        ));
        if !check.advice.is_empty() {
            lines.push(format!("{indent}-> {}\n", check.advice));
        }
    }
    lines.concat()
}
