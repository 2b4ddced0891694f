//! curl, which every pipeline has. What is secret goes to its standard input as configuration: arguments can be read by everybody.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::error::TaskError;

/// What curl prints; nothing if it failed, of which it has told the terminal. `hidden` is the variable with the secret, which it does not
/// inherit.
pub(crate) fn ask(arguments: &[&str], hidden: &str, configuration: &str) -> Result<Option<String>, TaskError> {
    let failed = |source| TaskError::Start {
        program: "curl".to_owned(),
        source,
    };
    let mut child = Command::new("curl")
        // First of all, so that no configuration of the user's is read.
        .args([
            "--disable",
            "--config",
            "-",
            "--silent",
            "--show-error",
            "--connect-timeout",
            "5",
        ])
        .args(arguments)
        .env_remove(hidden)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // One that has ended already says so by its status.
        _ = input.write_all(configuration.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(output.status.success().then_some(text))
}
