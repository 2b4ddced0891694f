//! `cargo xtask shown ITEM BY COMMAND...`: runs a command and writes evidence of how it ended.
//!
//! A command that ends with 3 did its work but shows nothing, such as a notification that there is nobody to send to: no evidence, and 0.
//! What ran while the checkout changed was neither of the one commit nor of the other: no evidence.

use std::{
    process::{Command, ExitCode},
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{consts::SIGINT, flag};

use crate::{
    checkout::Checkout,
    error::TaskError,
    evidence,
    program::{exit_code, status},
    say,
};

/// What a command ends with that did its work and shows nothing.
pub(crate) const SHOWS_NOTHING: u8 = 3;

pub(crate) fn run(checkout: &Checkout, item: &str, by: &str, command: &[String]) -> Result<ExitCode, TaskError> {
    let [program, arguments @ ..] = command else {
        return TaskError::refused("there is no command to run");
    };
    // Ctrl-C is for the command, which may have servers to end; this waits for it. The command itself starts with the default.
    let ignored = Arc::new(AtomicBool::new(false));
    flag::register(SIGINT, ignored).map_err(TaskError::file("the handler of SIGINT"))?;
    let before = state(checkout);
    let code = exit_code(status(Command::new(program).args(arguments))?);
    let refused = match (&before, code) {
        (_, SHOWS_NOTHING) => Some("nothing was shown"),
        (None, _) => Some("this is no git checkout"),
        (Some(_), _) if state(checkout) != before => Some("the checkout changed meanwhile"),
        (Some(_), _) => None,
    };
    if let Some(reason) = refused {
        say(&format!("No evidence of '{item}' was written: {reason}"));
    } else {
        let outcome = if code == 0 { "passed" } else { "failed" };
        evidence::write(checkout, item, outcome, by, &format!("status {code}"))?;
    }
    Ok(ExitCode::from(if code == SHOWS_NOTHING { 0 } else { code }))
}

/// The commit and what differs from it.
fn state(checkout: &Checkout) -> Option<String> {
    let commit = checkout.ask_git(&["rev-parse", "HEAD"])?;
    Some(format!("{commit}\n{}", checkout.changes().ok()?))
}
