//! Named steps that are timed and all run, whatever became of the ones before.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::TaskError,
    jobs::Jobs,
    program::{self, not_started},
    say,
};

/// The longest takes 15 minutes on two cores; something that hangs is to be told before a runner gives up.
const LIMIT: f64 = 3600.0;
/// For the last lines of a step that has ended; something may keep its output open.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Phases<'a> {
    jobs: &'a Jobs,
    limit: Duration,
    /// Keeps what each prints, in a file of the phase's name.
    logs: Option<PathBuf>,
    lines: Vec<String>,
    failed: bool,
}

impl<'a> Phases<'a> {
    /// Each may take PHASE_LIMIT seconds, an hour unless said otherwise.
    pub(crate) fn begin(jobs: &'a Jobs, logs: Option<PathBuf>) -> Result<Self, TaskError> {
        Ok(Self {
            jobs,
            limit: program::seconds("PHASE_LIMIT", LIMIT)?,
            logs,
            lines: Vec::new(),
            failed: false,
        })
    }

    pub(crate) fn run(&mut self, name: &str, command: &mut Command) -> Result<(), TaskError> {
        say(&format!("\n=== {name}"));
        let began = Instant::now();
        let status = match &self.logs {
            Some(folder) => self.run_with_log(folder.join(name), command)?,
            None => self.jobs.start(command)?.wait(Some(self.limit))?,
        };
        self.failed |= status != 0;
        self.lines.push(line(name, status, began.elapsed()));
        Ok(())
    }

    fn run_with_log(&self, log: PathBuf, command: &mut Command) -> Result<u8, TaskError> {
        let file = File::create(&log).map_err(TaskError::file(log))?;
        let (reader, writer) = io::pipe().map_err(|source| not_started(command, source))?;
        let errors = writer.try_clone().map_err(|source| not_started(command, source))?;
        let job = self.jobs.start(command.stdout(writer).stderr(errors))?;
        // What is given to a command is open here until it is given something else.
        command.stdout(io::stdout()).stderr(io::stderr());
        let copy = thread::spawn(move || copy_to_both(reader, file));
        let status = job.wait(Some(self.limit));
        let deadline = Instant::now() + LAST_LINES_TIMEOUT;
        while !copy.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        status
    }

    /// The table of phases.
    pub(crate) fn report(&self) {
        say("");
        self.lines.iter().for_each(|line| say(line));
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(u8::from(self.failed))
    }
}

fn line(name: &str, status: u8, took: Duration) -> String {
    let seconds = took.as_secs();
    match status {
        0 => format!("{name:<14} ok      {seconds:>4} s"),
        status => format!("{name:<14} FAILED  {seconds:>4} s (status {status})"),
    }
}

/// A terminal that is gone does not keep the log from being written.
fn copy_to_both(mut from: impl Read, mut file: impl Write) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        _ = file.write_all(bytes);
        let mut terminal = io::stdout();
        _ = terminal.write_all(bytes).and_then(|()| terminal.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::{copy_to_both, line};
    use std::time::Duration;

    #[test]
    fn the_table_says_what_failed_and_how() {
        let took = Duration::from_millis(12_900);
        assert_eq!(line("rust", 0, took), "rust           ok        12 s");
        assert_eq!(line("browser", 124, took), "browser        FAILED    12 s (status 124)");
    }

    #[test]
    fn a_log_has_all_of_it() {
        let mut log = Vec::new();
        let text = vec![b'\n'; 100_000];
        copy_to_both(&text[..], &mut log);
        assert_eq!(log, text);
    }
}
