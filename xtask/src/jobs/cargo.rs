//! cargo, as a job with the project's settings.

use std::process::Command;

use super::Jobs;
use crate::{checkout::Checkout, error::TaskError};

impl Jobs {
    /// A job in the checkout, with the settings that all builds share: queries are checked against the committed .sqlx, so that building
    /// needs no database.
    pub(crate) fn in_checkout(&self, checkout: &Checkout, program: &str) -> Command {
        let mut command = self.command(program);
        command.current_dir(&checkout.root).env("SQLX_OFFLINE", "true");
        command.env("CARGO_TARGET_DIR", Checkout::target());
        command
    }

    /// A build that has to succeed.
    pub(crate) fn cargo(&self, checkout: &Checkout, arguments: &[&str]) -> Result<(), TaskError> {
        match self.run(self.in_checkout(checkout, "cargo").args(arguments))? {
            0 => Ok(()),
            _ => Err(TaskError::Failed {
                command: format!("cargo {}", arguments.join(" ")),
            }),
        }
    }
}
