//! The real model's file, for suites that ask it; or why it is not there.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use super::Context;
use crate::{
    checkout::Checkout, error::TaskError, postgres::last_lines, program::variable, say, services::temporary_folder,
};

const FETCH_TIMEOUT: Duration = Duration::from_mins(15);

/// Fetches the weights, once for all checkouts of this account. Where they cannot be had: says NOT CHECKED with the reason; in CI that ends
/// the suite, unless OFFLINE=1.
pub(crate) fn find(context: &Context) -> Result<Option<PathBuf>, TaskError> {
    context
        .jobs
        .cargo(context.checkout, &["build", "--locked", "-p", "local-model"])?;
    let folder = temporary_folder("mapleai-weights.")?;
    let log = folder.path().join("log");
    let file = fs::File::create(&log).map_err(TaskError::file(&log))?;
    let program = Checkout::target().join("debug/local-model");
    let mut fetch = context.job(&program.to_string_lossy());
    fetch.arg("fetch").stderr(Stdio::from(file));
    let printed = context.jobs.output(&mut fetch, FETCH_TIMEOUT)?;
    let weights = PathBuf::from(printed.trim_end());
    if weights.is_file() {
        return Ok(Some(weights));
    }
    let reason = last_lines(&log, 1);
    say(&format!(
        "NOT CHECKED: answers of the real model, since its weights cannot be had: {reason}"
    ));
    if variable("CI").is_some() && variable("OFFLINE").as_deref() != Some("1") {
        return TaskError::refused("CI checks the real model; OFFLINE=1 goes on without");
    }
    Ok(None)
}
