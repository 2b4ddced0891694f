//! `make fuzz`: each reader of what others write, for SECONDS_EACH (60), by libFuzzer; then as long what models' Markdown costs
//! (fuzz/README.md).
//!
//! All are tried, whatever is found in those before, and the run ends with 1 if anything was. Where a fuzzer cannot be had, the readers'
//! property tests run instead, and the last line says so.

mod fuzzer;
mod properties;

use std::process::ExitCode;

use crate::{checkout::Checkout, error::TaskError, jobs::Jobs, program, say};

use fuzzer::{Fuzzer, Setup};

/// What was tried, and what of it was found wanting.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    is_fuzzed: bool,
}

pub(crate) fn run(checkout: &Checkout) -> Result<ExitCode, TaskError> {
    let jobs = Jobs::begin()?;
    let time = program::seconds("SECONDS_EACH", 60.0)?;
    let mut tally = Tally::default();
    match Fuzzer::set_up(&jobs, checkout)? {
        Setup::Ready(fuzzer) => {
            tally.is_fuzzed = true;
            for target in fuzzer::TARGETS {
                tally.count(fuzzer.run(target, time)?);
            }
        }
        Setup::Impossible(reason) => {
            say(&format!(
                "NOT FUZZED: {reason}. The property tests of the readers run instead."
            ));
            tally.passed = properties::run(&jobs, checkout, time)?;
        }
    }
    tally.count(markdown_cost(&jobs, checkout, time.as_secs())?);
    say(&tally.line());
    Ok(ExitCode::from(u8::from(tally.failed > 0)))
}

impl Tally {
    fn count(&mut self, has_passed: bool) {
        if has_passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    fn line(&self) -> String {
        let Self { passed, failed, .. } = self;
        let how = if self.is_fuzzed {
            ""
        } else {
            " (property tests only: NOT FUZZED)"
        };
        format!("\n{passed} passed, {failed} failed{how}")
    }
}

/// A program of its own, which looks for texts that cost more than they are long.
fn markdown_cost(jobs: &Jobs, checkout: &Checkout, seconds: u64) -> Result<bool, TaskError> {
    let mut cost = jobs.in_checkout(checkout, "cargo");
    cost.args(["run", "--quiet", "--locked", "--release", "--manifest-path"]);
    cost.args(["fuzz/Cargo.toml", "--package", "markdown-cost", "--"]);
    cost.args(["--seconds", &seconds.to_string()]);
    Ok(jobs.run(&mut cost)? == 0)
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn the_last_line_tells_what_was_not_fuzzed() {
        let mut tally = Tally {
            is_fuzzed: true,
            ..Tally::default()
        };
        for passed in [true, true, false] {
            tally.count(passed);
        }
        assert_eq!(tally.line(), "\n2 passed, 1 failed");
        tally.is_fuzzed = false;
        assert_eq!(tally.line(), "\n2 passed, 1 failed (property tests only: NOT FUZZED)");
    }
}
