//! Other programs: what they print, how they end, and how long they may take.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write as _},
    process::{Command, ExitCode, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::error::TaskError;

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// As a person would type it, for messages.
fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Its output is the caller's own.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus, TaskError> {
    command.status().map_err(|source| not_started(command, source))
}

/// Runs it to its end, which must be a good one.
pub(crate) fn run(command: &mut Command) -> Result<(), TaskError> {
    if status(command)?.success() {
        return Ok(());
    }
    let command = shown(command);
    Err(TaskError::Failed { command })
}

/// What it prints, without the line break at its end. What it complains of goes to the caller's terminal.
pub(crate) fn output(command: &mut Command) -> Result<String, TaskError> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| not_started(command, source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let command = shown(command);
    Err(TaskError::Failed { command })
}

/// What it prints as JSON; nothing where it prints nothing.
pub(crate) fn json(command: &mut Command) -> Result<Option<Value>, TaskError> {
    let text = output(command)?;
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = serde_json::from_str(&text);
    parsed.map(Some).map_err(|source| TaskError::NotJson {
        command: shown(command),
        source,
    })
}

/// Whether it ends well, and within `limit`; afterwards it is killed.
pub(crate) fn ends_well_within(command: &mut Command, limit: Duration) -> Result<bool, TaskError> {
    let mut child = command.spawn().map_err(|source| not_started(command, source))?;
    let deadline = Instant::now() + limit;
    loop {
        let ended = child.try_wait().map_err(|source| not_started(command, source))?;
        if let Some(status) = ended {
            return Ok(status.success());
        }
        if Instant::now() >= deadline {
            _ = child.kill();
            _ = child.wait();
            return Ok(false);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Ends as the program did; shells give 128 and the signal for one that a signal ended.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

pub(crate) fn pass_on(command: &mut Command) -> Result<ExitCode, TaskError> {
    Ok(ExitCode::from(exit_code(status(command)?)))
}

pub(crate) fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A limit of seconds in a variable.
pub(crate) fn seconds(name: &str, default: f64) -> Result<Duration, TaskError> {
    let Some(text) = variable(name) else {
        return Ok(Duration::from_secs_f64(default));
    };
    let seconds = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| TaskError::Refused(format!("{name} must be a number of seconds, not '{text}'")))
}

/// One that is set to nothing is not set.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

/// To people, beside what is printed for programs.
pub(crate) fn report(line: &str) {
    _ = writeln!(io::stderr(), "{line}");
}

pub(crate) fn not_started(command: &Command, source: io::Error) -> TaskError {
    let program = command.get_program().to_string_lossy().into_owned();
    TaskError::Start { program, source }
}

#[cfg(test)]
mod tests {
    use super::{ends_well_within, exit_code, json, output, run};
    use crate::error::TaskError;
    use std::{process::Command, time::Duration};

    fn shell(text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        command
    }

    #[test]
    fn a_program_that_fails_is_named() {
        let error = run(&mut shell("exit 7")).unwrap_err();
        assert_eq!(error.chain(), "sh -c exit 7 failed (above)");
        let missing = run(&mut Command::new("no-such-program")).unwrap_err();
        assert!(
            missing.chain().starts_with("cannot start no-such-program: "),
            "{}",
            missing.chain()
        );
    }

    #[test]
    fn output_is_text_or_json_or_nothing() {
        assert_eq!(output(&mut shell("printf 'a\\nb\\n'")).unwrap(), "a\nb");
        assert_eq!(json(&mut shell("echo '{\"a\":1}'")).unwrap().unwrap()["a"], 1);
        assert!(json(&mut shell("true")).unwrap().is_none());
        assert!(matches!(
            json(&mut shell("echo '<html>'")),
            Err(TaskError::NotJson { .. })
        ));
        assert!(matches!(
            json(&mut shell("echo 1; exit 1")),
            Err(TaskError::Failed { .. })
        ));
    }

    #[test]
    fn waiting_has_a_limit() {
        assert!(ends_well_within(&mut shell("true"), Duration::from_secs(30)).unwrap());
        assert!(!ends_well_within(&mut shell("false"), Duration::from_secs(30)).unwrap());
        assert!(!ends_well_within(&mut shell("exec sleep 60"), Duration::from_millis(1)).unwrap());
    }

    #[test]
    fn the_status_is_that_of_the_program_or_of_its_signal() {
        assert_eq!(exit_code(shell("exit 42").status().unwrap()), 42);
        assert_eq!(exit_code(shell("kill -TERM $$").status().unwrap()), 143);
    }
}
