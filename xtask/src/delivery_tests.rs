//! Python of the tests of delivery and of images, which leaves nothing behind in the checkout.

use std::process::Command;

use crate::{checkout::Checkout, error::TaskError, jobs::Jobs, services::printed_by};

pub(crate) fn python(jobs: &Jobs, checkout: &Checkout) -> Result<Command, TaskError> {
    let venv = printed_by(checkout, "scripts/test/python.sh", &["tests/k8s/requirements.txt"])?;
    let mut command = jobs.in_checkout(checkout, &venv.join("bin/python").to_string_lossy());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// pytest of one file of tests/delivery.
pub(crate) fn pytest(jobs: &Jobs, checkout: &Checkout, file: &str) -> Result<Command, TaskError> {
    let mut command = python(jobs, checkout)?;
    command.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
    command.args(["--rootdir", "tests/delivery", &format!("tests/delivery/{file}")]);
    Ok(command)
}
