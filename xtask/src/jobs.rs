//! Children that never outlive this process, whatever ends it.
//!
//! Each job has a process group of its own, and nothing of the terminal's. A `Job` that is dropped ends its group: so a task only has to
//! return, and signals (`signals`) make it return at the next wait. Where this process is killed, the kernel ends the job itself
//! (`launch`), and a process apart (`guard`) the rest of its group.

mod cargo;
mod guard;
mod launch;
mod output;
mod signals;

use std::{
    cell::Cell,
    env,
    ffi::OsStr,
    path::PathBuf,
    process::{self, Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use signal_hook::consts::SIGINT;

use crate::{
    error::TaskError,
    program::{exit_code, not_started, report},
    say,
};

pub(crate) use guard::run as run_guard;
pub(crate) use launch::launch;

use guard::Guard;
use signals::Signals;

const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// MapleAI takes up to ten for calls in progress.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// What the job's leader has left in its group when it ended by itself.
const REMAINDER_TIMEOUT: Duration = Duration::from_secs(2);
/// The status of one that took longer than it may, as of `timeout`.
const TIMED_OUT: u8 = 124;

pub(crate) struct Jobs {
    signals: Signals,
    guard: Guard,
    /// This process.
    process: u32,
    /// Said once, where Ctrl-C ends this.
    farewell: Cell<Option<&'static str>>,
}

impl Jobs {
    /// From here on Ctrl-C, TERM and the end of the terminal end this process by way of its waits.
    pub(crate) fn begin() -> Result<Self, TaskError> {
        let signals = Signals::catch()?;
        launch::end_with_caller()?;
        let guard = Guard::start()?;
        Ok(Self {
            signals,
            guard,
            process: process::id(),
            farewell: Cell::new(None),
        })
    }

    pub(crate) fn with_farewell(self, text: &'static str) -> Self {
        self.farewell.set(Some(text));
        self
    }

    /// A command that becomes a job by `start`.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = own_program();
        command.env_remove(launch::MAKE);
        command.arg("launch").arg(self.process.to_string()).arg(program);
        command
    }

    pub(crate) fn start(&self, command: &mut Command) -> Result<Job<'_>, TaskError> {
        use std::os::unix::process::CommandExt as _;
        self.check()?;
        command.stdin(Stdio::null()).process_group(0);
        let child = command.spawn().map_err(|source| not_started(command, source))?;
        self.guard.begin(child.id());
        Ok(Job {
            jobs: self,
            child,
            status: None,
        })
    }

    /// Runs it to its end and gives its status.
    pub(crate) fn run(&self, command: &mut Command) -> Result<u8, TaskError> {
        self.start(command)?.wait(None)
    }

    /// An error as soon as this process is to end.
    pub(crate) fn check(&self) -> Result<(), TaskError> {
        let Some(signal) = self.signals.received() else {
            return Ok(());
        };
        if let Some(text) = self.farewell.take().filter(|_| signal == SIGINT) {
            say(text);
        }
        Err(TaskError::Signalled { signal })
    }

    pub(crate) fn pause(&self, time: Duration) -> Result<(), TaskError> {
        let until = Instant::now() + time;
        self.until(until, || false).map(|_| ())
    }

    /// Whether it came true by then.
    pub(crate) fn until(&self, deadline: Instant, mut holds: impl FnMut() -> bool) -> Result<bool, TaskError> {
        loop {
            self.check()?;
            if holds() {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            thread::sleep(left.min(POLL_INTERVAL));
        }
    }
}

pub(crate) struct Job<'a> {
    jobs: &'a Jobs,
    child: Child,
    status: Option<ExitStatus>,
}

impl Job<'_> {
    pub(crate) fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_none()
    }

    /// Its status. One that takes longer than the limit is ended, which is 124.
    pub(crate) fn wait(mut self, limit: Option<Duration>) -> Result<u8, TaskError> {
        let jobs = self.jobs;
        let began = Instant::now();
        loop {
            jobs.check()?;
            if !self.is_running() {
                return Ok(self.status.map_or(1, exit_code));
            }
            if let Some(limit) = limit.filter(|limit| began.elapsed() >= *limit) {
                report(&format!("ended after {} s", limit.as_secs()));
                return Ok(TIMED_OUT);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// To its whole group, as a terminal does it.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = group_of(&self.child) {
            _ = kill_process_group(group, signal);
        }
    }

    /// Asks the group to end, and insists.
    fn end(&mut self) {
        let Some(group) = group_of(&self.child) else { return };
        let limit = if self.is_running() {
            STOP_TIMEOUT
        } else {
            REMAINDER_TIMEOUT
        };
        let deadline = Instant::now() + limit;
        _ = kill_process_group(group, Signal::TERM);
        while (self.is_running() || test_kill_process_group(group).is_ok()) && Instant::now() < deadline {
            thread::sleep(POLL_INTERVAL);
        }
        _ = kill_process_group(group, Signal::KILL);
        if self.status.is_none() {
            _ = self.child.wait();
        }
        self.jobs.guard.end(self.child.id());
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

fn group_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// This program again. Where it was built anew meanwhile, its file may be gone, and the kernel still has it.
pub(crate) fn own_program() -> Command {
    Command::new(own_path())
}

/// As a job.
pub(crate) fn own_command(jobs: &Jobs) -> Command {
    jobs.command(own_path())
}

fn own_path() -> PathBuf {
    let path = env::current_exe().ok().filter(|path| path.exists());
    path.unwrap_or_else(|| "/proc/self/exe".into())
}
