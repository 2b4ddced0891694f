//! What ties a process to its parent, by the kernel.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use rustix::process::{Pid, getppid};
use signal_hook::consts::SIGTERM;

use crate::{
    error::TaskError,
    program::{not_started, variable},
};

/// The process of `make` that has started this, and no job of it.
pub(super) const MAKE: &str = "MAPLE_MAKE";

/// `xtask launch PARENT PROGRAM…`: becomes the program, which gets TERM when the parent is gone. A step of its own, since the request is
/// made by the process itself, and survives `exec`.
pub(crate) fn launch(parent: i32, command: &[OsString]) -> Result<ExitCode, TaskError> {
    let [program, arguments @ ..] = command else {
        return TaskError::refused("there is no program to become");
    };
    end_with_parent()?;
    if getppid().map(Pid::as_raw_nonzero).map(Into::into) != Some(parent) {
        return Err(TaskError::Signalled { signal: SIGTERM });
    }
    let mut command = Command::new(program);
    command.args(arguments);
    let source = command.exec();
    Err(not_started(&command, source))
}

/// `make` that is killed takes this along, and so does this program where it started itself. Of any other parent the kernel is not
/// asked: what `nohup` or a shell has started goes on when that ends. scripts/xtask.sh says which process make was, should it be gone
/// already.
pub(super) fn end_with_caller() -> Result<(), TaskError> {
    let Some(parent) = getppid() else { return Ok(()) };
    let make = variable(MAKE)
        .and_then(|number| number.parse().ok())
        .and_then(Pid::from_raw);
    if make.is_none() && !is_caller(&name_of(parent)) {
        return Ok(());
    }
    end_with_parent()?;
    if getppid() != Some(make.unwrap_or(parent)) {
        return Err(TaskError::Signalled { signal: SIGTERM });
    }
    Ok(())
}

fn is_caller(name: &str) -> bool {
    matches!(name, "make" | "gmake" | "xtask")
}

fn name_of(process: Pid) -> String {
    let name = fs::read_to_string(format!("/proc/{}/comm", process.as_raw_nonzero()));
    name.unwrap_or_default().trim_end().to_owned()
}

#[cfg(target_os = "linux")]
fn end_with_parent() -> Result<(), TaskError> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(|error| TaskError::file("prctl")(error.into()))
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent() -> Result<(), TaskError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_caller;

    #[test]
    fn only_make_and_this_program_take_along_what_they_started() {
        assert!(["make", "gmake", "xtask"].into_iter().all(is_caller));
        assert!(
            ["bash", "nohup", "", "makefile"]
                .into_iter()
                .all(|name| !is_caller(name))
        );
    }
}
