//! The property tests of the readers, over and over with fresh seeds: where they cannot be fuzzed. A case that fails is printed as small
//! as it can be.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::Jobs,
    program::variable,
    say,
    suites::{text_of, to_file},
};

/// The reader, its package, and which of that package's tests are the reader's properties.
const READERS: [(&str, &str, &str); 11] = [
    ("requests", "mapleai-llm", "inbound::"),
    ("events", "mapleai-llm", "sse::"),
    ("answers", "mapleai-llm", "outbound::"),
    ("canonical", "mapleai-llm", "canonical::"),
    ("secrets", "mapleai-provider", "redact::"),
    ("upstream", "mapleai-provider", "retry::"),
    ("journal", "mapleai-gateway", "journal::"),
    ("credentials", "mapleai", "auth::authenticator"),
    ("seals", "mapleai-crypto", "::tests::"),
    ("headers", "mapleai", "http::edge"),
    ("texts", "mapleai-domain", "::tests::"),
];
const BUILD_TIMEOUT: Duration = Duration::from_hours(1);

/// How many readers were tried for so long each; the first finding is an error.
pub(super) fn run(jobs: &Jobs, checkout: &Checkout, time: Duration) -> Result<usize, TaskError> {
    let cases = variable("PROPTEST_CASES").unwrap_or_else(|| "20000".to_owned());
    let log = tempfile::NamedTempFile::new().map_err(TaskError::file("a temporary file"))?;
    for (name, package, filter) in READERS {
        let binary = tests_of(jobs, checkout, package)?;
        let (until, mut runs) = (Instant::now() + time, 0);
        while Instant::now() < until {
            let mut tests = jobs.in_checkout(checkout, &binary.to_string_lossy());
            tests
                .args(["--quiet", filter])
                .env("PROPTEST_CASES", &cases)
                .env("PROPTEST_FAILURE_PERSISTENCE", "off");
            let status = jobs.run(to_file(&mut tests, log.path())?)?;
            let text = text_of(log.path());
            if status != 0 {
                say(&text);
                return TaskError::refused(format!("a finding in the reader of {name}"));
            }
            // A reader that has moved must not pass for one that was tried.
            if !has_passed(&text) {
                return TaskError::refused(format!("no test of {package} is named {filter}"));
            }
            runs += 1;
        }
        say(&format!(
            "{name}: {} s, {runs} times {cases} cases of each property, no finding",
            time.as_secs()
        ));
    }
    Ok(READERS.len())
}

/// The program of the tests of a package's library.
fn tests_of(jobs: &Jobs, checkout: &Checkout, package: &str) -> Result<PathBuf, TaskError> {
    let mut build = jobs.in_checkout(checkout, "cargo");
    build.args([
        "test",
        "--locked",
        "--package",
        package,
        "--lib",
        "--no-run",
        "--message-format",
        "json",
    ]);
    let messages = jobs.output(build.stderr(Stdio::null()), BUILD_TIMEOUT)?;
    let refused = || {
        TaskError::Refused(format!(
            "the tests of {package} were not built: cargo test --package {package} --lib --no-run says why"
        ))
    };
    executable_in(&messages).ok_or_else(refused)
}

/// The last that cargo names in its messages, a line each.
fn executable_in(messages: &str) -> Option<PathBuf> {
    let mut messages = messages
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

fn has_passed(text: &str) -> bool {
    let counts = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("ok. ")?;
        rest.split_once(" passed")?.0.parse::<u32>().ok()
    });
    counts.into_iter().any(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::{executable_in, has_passed};
    use std::path::Path;

    #[test]
    fn the_program_of_the_tests_is_the_last_that_cargo_names() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n{\"executable\":\"/t/llm-1\"}\n{\"success\":true}\n";
        assert_eq!(executable_in(messages).as_deref(), Some(Path::new("/t/llm-1")));
        assert_eq!(executable_in("error\n"), None);
    }

    #[test]
    fn a_filter_that_finds_no_test_has_tried_nothing() {
        assert!(has_passed("test result: ok. 3 passed; 0 failed; 0 ignored"));
        assert!(!has_passed("test result: ok. 0 passed; 0 failed; 9 filtered out"));
    }
}
