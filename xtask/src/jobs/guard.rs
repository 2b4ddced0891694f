//! A process apart that ends what a killed one has left running.
//!
//! It is in a session of its own: Ctrl-C and the end of the terminal are not for it. Its standard input says which groups run, and the end
//! of that is the end of who started it. Its standard output is the terminal, if there is one: `make` that is a terminal's first process
//! keeps to itself that this was closed, so it is passed on from here.

use std::{
    collections::BTreeSet,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
    process::{self, ChildStdin, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, setsid, test_kill_process_group};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use crate::{error::TaskError, program::not_started};

const TERMINAL_INTERVAL: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// As long as MapleAI needs to end calls in progress.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Guard {
    pipe: Option<ChildStdin>,
}

impl Guard {
    pub(super) fn start() -> Result<Self, TaskError> {
        let stdin = io::stdin();
        let terminal = stdin.is_terminal().then(|| stdin.as_fd().try_clone_to_owned().ok());
        let mut command = super::own_program();
        command
            .arg("guard")
            .arg(process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(terminal.flatten().map_or_else(Stdio::null, Stdio::from))
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(|source| not_started(&command, source))?;
        Ok(Self {
            pipe: child.stdin.take(),
        })
    }

    pub(super) fn begin(&self, group: u32) {
        self.send(&format!("start {group}\n"));
    }

    pub(super) fn end(&self, group: u32) {
        self.send(&format!("end {group}\n"));
    }

    /// A guard that was killed is missed only by a process that is.
    fn send(&self, line: &str) {
        if let Some(mut pipe) = self.pipe.as_ref() {
            _ = pipe.write_all(line.as_bytes());
        }
    }
}

/// `xtask guard PROCESS`
pub(crate) fn run(guarded: i32) -> Result<ExitCode, TaskError> {
    _ = setsid();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let ignored = Arc::new(AtomicBool::new(false));
        flag::register(signal, ignored).map_err(TaskError::file("the handlers of signals"))?;
    }
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            _ = sender.send(line);
        }
    });
    let mut groups = BTreeSet::new();
    let mut has_terminal = io::stdout().is_terminal();
    loop {
        match lines.recv_timeout(TERMINAL_INTERVAL) {
            Ok(line) => note(&mut groups, &line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if has_terminal && !io::stdout().is_terminal() => {
                has_terminal = false;
                if let Some(guarded) = Pid::from_raw(guarded) {
                    _ = kill_process(guarded, Signal::HUP);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    end_all(groups);
    Ok(ExitCode::SUCCESS)
}

fn note(groups: &mut BTreeSet<i32>, line: &str) {
    match line.split_once(' ').map(|(what, group)| (what, group.parse())) {
        Some(("start", Ok(group))) => _ = groups.insert(group),
        Some(("end", Ok(group))) => _ = groups.remove(&group),
        _ => {}
    }
}

fn end_all(groups: BTreeSet<i32>) {
    let mut groups: Vec<Pid> = groups.into_iter().filter_map(Pid::from_raw).collect();
    groups.retain(|group| kill_process_group(*group, Signal::TERM).is_ok());
    let deadline = Instant::now() + STOP_TIMEOUT;
    while !groups.is_empty() && Instant::now() < deadline {
        thread::sleep(POLL_INTERVAL);
        groups.retain(|group| test_kill_process_group(*group).is_ok());
    }
    for group in groups {
        _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::note;
    use std::collections::BTreeSet;

    #[test]
    fn groups_that_began_and_have_not_ended_are_left_to_the_guard() {
        let mut groups = BTreeSet::new();
        for line in ["start 11", "start 12", "end 11", "", "start x", "stop 12"] {
            note(&mut groups, line);
        }
        assert_eq!(groups, BTreeSet::from([12]));
    }
}
