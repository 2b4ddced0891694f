//! All tests, with throw-away servers. Runs every suite, so that one look shows every fault.

use std::{fs, process::ExitCode};

use super::Context;
use crate::{
    error::TaskError,
    jobs::own_command,
    phases::Phases,
    say,
    services::{Service, install},
};

/// Each with the task that it is.
const PHASES: [(&str, &[&str]); 8] = [
    ("sqlx-check", &["sqlx", "check"]),
    ("rust", &["test", "rust"]),
    ("clients", &["test", "clients"]),
    ("browser", &["test", "browser"]),
    ("openapi", &["test", "openapi"]),
    ("local-model", &["test", "local-model"]),
    ("make-run", &["test", "make-run"]),
    ("run-ends", &["test", "run-ends"]),
];

pub(super) fn run(context: &Context) -> Result<ExitCode, TaskError> {
    install(
        context.checkout,
        &["compiler", "postgres", "redis", "browser", "python"],
    )?;
    let services = context.services(&[Service::Postgres, Service::Redis])?;
    let logs = services.path("logs");
    fs::create_dir(&logs).map_err(TaskError::file(&logs))?;
    let mut phases = Phases::begin(context.jobs, Some(logs.clone()))?;
    for (name, task) in PHASES {
        let mut command = own_command(context.jobs);
        command.args(task).env("MAPLE_ROOT", &context.checkout.root);
        phases.run(name, services.name_to(&mut command))?;
    }
    phases.report();
    // The runners' own closing lines once more, together.
    say("");
    for (name, _) in PHASES {
        let log = fs::read(logs.join(name)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| is_closing(line)).for_each(say);
    }
    Ok(phases.code())
}

/// Of nextest, of cargo's own tests, of Node and of pytest.
fn is_closing(line: &str) -> bool {
    let words: Vec<_> = line.split(' ').collect();
    let of_node = matches!(words[..], [_, "tests" | "pass" | "fail", count] if count.parse::<u32>().is_ok());
    let of_pytest = line.starts_with('=') && line.ends_with('=') && line.contains(" in ") && line.contains("s ");
    let of_nextest = line.starts_with(' ') && line.trim_start().starts_with("Summary [");
    of_nextest || of_node || of_pytest || line.starts_with("test result:")
}

#[cfg(test)]
mod tests {
    use super::is_closing;

    #[test]
    fn closing_lines_of_each_runner_are_told_from_others() {
        for line in [
            "     Summary [  92.110s] 812 tests run: 812 passed, 0 skipped",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "ℹ pass 12",
            "================== 63 passed in 212.56s (0:03:32) ==================",
        ] {
            assert!(is_closing(line), "{line}");
        }
        for line in [
            "Summary",
            "ℹ pass 12 of 13",
            "=== rust",
            "============ short test summary info ============",
        ] {
            assert!(!is_closing(line), "{line}");
        }
    }
}
