//! The targets of `fuzz/`, by cargo-fuzz.

mod tool;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    checkout::Checkout,
    error::TaskError,
    jobs::Jobs,
    program::variable,
    say,
    services::temporary_folder,
    suites::{text_of, to_file},
};

const GOLDEN: &str = "crates/llm/tests/openai";

/// Each target, and the folders with texts to begin with: what the golden tests read, and what is written for it.
pub(super) const TARGETS: [Target; 14] = [
    Target("requests", &[GOLDEN]),
    Target("events", &[GOLDEN]),
    Target("frames", &[GOLDEN]),
    Target("answers", &[GOLDEN, "fuzz/seeds/answers"]),
    Target("canonical", &[GOLDEN, "fuzz/seeds/canonical"]),
    Target("secrets", &["fuzz/seeds/secrets"]),
    Target("upstream", &["fuzz/seeds/upstream"]),
    Target("journal", &["fuzz/seeds/journal"]),
    Target("credentials", &["fuzz/seeds/credentials"]),
    Target("addresses", &["fuzz/seeds/addresses"]),
    Target("headers", &["fuzz/seeds/headers"]),
    Target("state_file", &["fuzz/seeds/state_file"]),
    Target("texts", &["fuzz/seeds/texts"]),
    Target("markdown", &["fuzz/seeds/markdown"]),
];
/// In the order in which they are tried: without AddressSanitizer's runtime libFuzzer is as good at finding panics.
const SANITIZERS: [&str; 2] = ["address", "none"];
/// Far more than two cores need.
const BUILD_TIMEOUT: Duration = Duration::from_hours(1);
/// What a run may take beyond its time: it reads the seeds first, and looks at the clock between texts.
const GRACE: Duration = Duration::from_mins(5);
/// What takes longer, or more memory, is a finding as well.
const LIMITS: [&str; 3] = ["-timeout=5", "-rss_limit_mb=2048", "-max_len=16384"];

#[derive(Clone, Copy)]
pub(super) struct Target(&'static str, &'static [&'static str]);

/// Targets that are built.
pub(super) struct Fuzzer<'a> {
    jobs: &'a Jobs,
    checkout: &'a Checkout,
    tool: PathBuf,
    sanitizer: &'static str,
    work: TempDir,
}

pub(super) enum Setup<'a> {
    Ready(Fuzzer<'a>),
    /// Something that is needed cannot be had.
    Impossible(String),
}

impl<'a> Fuzzer<'a> {
    /// Builds the targets. Code of ours that does not compile is an error, and no reason to do without.
    pub(super) fn set_up(jobs: &'a Jobs, checkout: &'a Checkout) -> Result<Setup<'a>, TaskError> {
        let tool = match tool::find(jobs, checkout)? {
            Ok(tool) => tool,
            Err(reason) => return Ok(Setup::Impossible(reason)),
        };
        let mut fuzzer = Self {
            jobs,
            checkout,
            tool,
            sanitizer: SANITIZERS[0],
            work: temporary_folder("mapleai-fuzz.")?,
        };
        for sanitizer in SANITIZERS {
            fuzzer.sanitizer = sanitizer;
            say(&format!("Building the targets, sanitizer: {sanitizer} (minutes, once)"));
            let mut build = fuzzer.command("build");
            let build = to_file(&mut build, &fuzzer.log())?;
            if jobs.start(build)?.wait(Some(BUILD_TIMEOUT))? == 0 {
                return Ok(Setup::Ready(fuzzer));
            }
        }
        say(last_of(&text_of(&fuzzer.log())));
        TaskError::refused("the targets in fuzz/ do not build")
    }

    fn log(&self) -> PathBuf {
        self.work.path().join("log")
    }

    fn command(&self, action: &str) -> Command {
        let mut command = self.jobs.in_checkout(self.checkout, &self.tool.to_string_lossy());
        command.args(["fuzz", action, "--codegen-units", "16", "--sanitizer", self.sanitizer]);
        command.current_dir(self.checkout.path("fuzz"));
        // The sanitizer is an option that stable compilers take only so. Nothing that is shipped is built here.
        command.env("RUSTC_BOOTSTRAP", "1");
        command.env("CARGO_TARGET_DIR", Checkout::target().join("fuzz"));
        command
    }

    /// Whether nothing was found in that time. CORPUS names a folder that keeps the texts that were worth trying.
    pub(super) fn run(&self, target: Target, time: Duration) -> Result<bool, TaskError> {
        let Target(name, seeds) = target;
        let corpora = variable("CORPUS").map_or_else(|| self.work.path().to_owned(), PathBuf::from);
        let corpus = std::path::absolute(corpora.join(name)).map_err(TaskError::file(&corpora))?;
        fs::create_dir_all(&corpus).map_err(TaskError::file(&corpus))?;
        let mut fuzz = self.command("run");
        fuzz.arg(name).arg(corpus);
        fuzz.args(seeds.iter().map(|folder| self.checkout.path(folder)));
        fuzz.arg("--").args(LIMITS);
        fuzz.arg(format!("-max_total_time={}", time.as_secs()));
        fuzz.arg("-print_final_stats=1");
        let job = self.jobs.start(to_file(&mut fuzz, &self.log())?)?;
        let status = job.wait(Some(time + GRACE))?;
        let text = text_of(&self.log());
        if status == 0 {
            let count = executed(&text).unwrap_or("an unknown number of");
            say(&format!("{name}: {} s, {count} texts, no finding", time.as_secs()));
            return Ok(true);
        }
        say(last_of(&text));
        let fuzz = self.checkout.path("fuzz");
        say(&match written(&text, &fuzz) {
            Some(input) => format!(
                "{name}: a finding, fuzz/{input}; again, in fuzz/: RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer {} {name} {input}",
                self.sanitizer
            ),
            None => format!("{name}: the fuzzer ended with {status} and left no text"),
        });
        Ok(false)
    }
}

/// As much of a log as says what is wrong.
fn last_of(text: &str) -> &str {
    const LINES: usize = 60;
    let start = text.trim_end().rmatch_indices('\n').nth(LINES - 1);
    text[start.map_or(0, |(at, _)| at + 1)..].trim_end()
}

/// How many texts libFuzzer has tried.
fn executed(text: &str) -> Option<&str> {
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    count.map(str::trim)
}

/// The file of a finding, below `fuzz`.
fn written<'t>(text: &'t str, fuzz: &Path) -> Option<&'t str> {
    let path = text
        .lines()
        .find_map(|line| line.split_once("Test unit written to "))?
        .1;
    Path::new(path).strip_prefix(fuzz).ok()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::{TARGETS, Target, executed, last_of, written};
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn every_target_is_run_and_has_texts_to_begin_with() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let files = fs::read_dir(root.join("fuzz/targets")).unwrap();
        let files: BTreeSet<_> = files.map(|file| file.unwrap().path().with_extension("")).collect();
        let run: BTreeSet<_> = TARGETS
            .iter()
            .map(|Target(name, _)| root.join("fuzz/targets").join(name))
            .collect();
        assert_eq!(run, files);
        for Target(name, seeds) in TARGETS {
            for seeds in seeds {
                assert!(fs::read_dir(root.join(seeds)).unwrap().count() > 0, "{name}: {seeds}");
            }
        }
    }

    /// Files of the service move, and nothing that `make test` builds would miss them.
    #[test]
    fn every_file_that_is_taken_as_it_is_is_there() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("fuzz");
        let mut count = 0;
        for folder in ["src", "crypto/src", "cost/src"].map(|folder| fuzz.join(folder)) {
            for file in fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()) {
                let text = fs::read_to_string(&file).unwrap_or_default();
                for path in text
                    .lines()
                    .filter_map(|line| line.strip_prefix("#[path = \"")?.strip_suffix("\"]"))
                {
                    assert!(folder.join(path).is_file(), "{}: {path}", file.display());
                    count += 1;
                }
            }
        }
        assert!(count > 20, "{count}");
    }

    #[test]
    fn a_log_tells_what_was_tried_and_what_was_found() {
        let log = "#2 INITED\nstat::number_of_executed_units: 1234\nstat::peak_rss_mb: 40\n";
        assert_eq!(executed(log), Some("1234"));
        assert_eq!(executed("#2 INITED\n"), None);
        let log =
            "artifact_prefix='/c/fuzz/artifacts/x/'; Test unit written to /c/fuzz/artifacts/x/crash-0a\nBase64: \n";
        assert_eq!(written(log, Path::new("/c/fuzz")), Some("artifacts/x/crash-0a"));
        assert_eq!(written("thread panicked", Path::new("/c/fuzz")), None);
    }

    #[test]
    fn of_a_log_the_end_is_shown() {
        let log = (0..200).map(|line| line.to_string()).collect::<Vec<_>>().join("\n") + "\n";
        let shown = last_of(&log);
        assert!(shown.starts_with("140\n") && shown.ends_with("\n199"), "{shown}");
        assert_eq!(last_of("one\ntwo\n"), "one\ntwo");
    }
}
