//! What the steps print, one line each, as soon as it is so: a pipeline shows it while the next one runs.

use std::{
    cell::Cell,
    io::{self, Write as _},
    rc::Rc,
};

use tokio::time::Instant;

/// Prints, and counts what failed.
pub(super) struct Report {
    failed: Rc<Cell<usize>>,
}

/// A step that has begun and not ended.
#[must_use]
pub(super) struct Step {
    name: &'static str,
    began: Instant,
    failed: Rc<Cell<usize>>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { failed: Rc::default() }
    }

    pub(super) fn failed(&self) -> usize {
        self.failed.get()
    }

    pub(super) fn begin(&self, name: &'static str) -> Step {
        Step {
            name,
            began: Instant::now(),
            failed: Rc::clone(&self.failed),
        }
    }

    pub(super) fn note(&self, step: &str, text: &str) {
        self.say(&format!("note {step}: {text}"));
    }

    pub(super) fn skip(&self, step: &str, reason: &str) {
        self.say(&format!("skip {step}: {reason}"));
    }

    #[expect(clippy::unused_self, reason = "what is printed is the report's")]
    pub(super) fn say(&self, line: &str) {
        print_line(line);
    }
}

impl Step {
    /// With what came, where that is of interest.
    pub(super) fn ok(self, detail: &str) {
        let separator = if detail.is_empty() { "" } else { ": " };
        let milliseconds = self.began.elapsed().as_millis();
        print_line(&format!("ok   {} ({milliseconds} ms){separator}{detail}", self.name));
    }

    /// With what was expected, and what came.
    pub(super) fn fail(self, reason: &str) {
        self.failed.set(self.failed.get() + 1);
        print_line(&format!("FAIL {}: {reason}", self.name));
    }

    /// It has not ended yet.
    pub(super) fn waiting(&self, summary: &str) {
        let seconds = self.began.elapsed().as_secs();
        print_line(&format!("wait {} ({seconds} s): {summary}", self.name));
    }
}

/// A closed pipe is the reader's wish: the exit code says what matters.
fn print_line(line: &str) {
    _ = writeln!(io::stdout(), "{line}");
}
