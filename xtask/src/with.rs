//! `cargo xtask with [SERVICE…] -- COMMAND…`: a command as a job, with throw-away services that end with it.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::Jobs,
    services::{Service, Services},
};

pub(crate) fn run(
    checkout: &Checkout,
    wanted: &[Service],
    limit: Option<u64>,
    command: &[OsString],
) -> Result<ExitCode, TaskError> {
    let [program, arguments @ ..] = command else {
        return TaskError::refused("there is no command to run");
    };
    let jobs = Jobs::begin()?;
    let services = Services::start(&jobs, checkout, wanted)?;
    let mut command = jobs.command(program);
    let job = jobs.start(services.name_to(command.args(arguments)))?;
    job.wait(limit.map(Duration::from_secs)).map(ExitCode::from)
}
