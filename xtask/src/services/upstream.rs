//! A model server that does what a question tells it to.

use std::time::Duration;

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::{Job, Jobs},
    ports,
};

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// With its port.
pub(crate) fn start<'a>(jobs: &'a Jobs, checkout: &Checkout) -> Result<(Job<'a>, u16), TaskError> {
    let port = ports::random_free()?;
    let mut command = jobs.command("python3");
    command
        .arg(checkout.path("tests/clients/page_upstream.py"))
        .arg(port.to_string());
    let mut job = jobs.start(&mut command)?;
    if !ports::opens(jobs, &mut job, port, START_TIMEOUT)? {
        return TaskError::refused("the model server of the tests did not start");
    }
    Ok((job, port))
}
