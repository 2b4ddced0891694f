//! Jobs end with this program, whatever ends it (`cargo xtask with -- COMMAND`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::{
    fs,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// A job with a process below it that no end of its parent reaches; both are in the file once they run.
const JOB: &str = "sleep 600 & echo $! $$ >\"$1.new\" && mv \"$1.new\" \"$1\"; wait";
const LIMIT: Duration = Duration::from_mins(1);

fn with(job: &str, file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["with", "--", "sh", "-c", job, "sh"]).arg(file);
    command.stdin(Stdio::null()).process_group(0);
    command
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {LIMIT:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Orphans are reaped by the first process of a container, if it does that: a zombie has ended.
fn runs(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

fn processes_in(file: &Path) -> Vec<String> {
    let text = until(|| fs::read_to_string(file).ok());
    text.split_whitespace().map(str::to_owned).collect()
}

fn send(child: &Child, signal: Signal) {
    let process = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}

fn end_by(signal: Signal) -> ExitStatus {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("processes");
    let mut child = with(JOB, &file).spawn().unwrap();
    let processes = processes_in(&file);
    assert!(processes.len() == 2 && processes.iter().all(|process| runs(process)));
    send(&child, signal);
    let status = child.wait().unwrap();
    until(|| processes.iter().all(|process| !runs(process)).then_some(()));
    status
}

#[test]
fn a_job_and_what_it_started_end_with_this_program() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
        assert_eq!(end_by(signal).code(), Some(code));
    }
}

#[test]
fn they_end_also_where_this_program_is_killed() {
    assert_eq!(end_by(Signal::KILL).signal(), Some(9));
}

#[test]
fn what_a_job_leaves_behind_in_its_group_ends_with_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("processes");
    let job = "sleep 600 & echo $! >\"$1\"; exit 7";
    assert_eq!(with(job, &file).status().unwrap().code(), Some(7));
    assert!(processes_in(&file).iter().all(|process| !runs(process)));
}

#[test]
fn a_job_may_take_so_long_and_no_longer() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = command
        .args(["with", "--limit", "1", "--", "sleep", "600"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(124));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "ended after 1 s\n");
}

/// Runners that use `nohup … &` leave INT ignored, which a shell hands on to all that it starts.
#[test]
fn a_job_can_be_interrupted_where_this_program_ignores_that() {
    let mut command = Command::new("sh");
    let job = "kill -INT $$; sleep 600";
    command.args([
        "-c",
        "trap '' INT; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_xtask"),
        "with",
        "--limit",
        "60",
        "--",
    ]);
    assert_eq!(command.args(["sh", "-c", job]).status().unwrap().code(), Some(130));
}

#[test]
fn a_program_that_nohup_started_outlives_its_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("processes");
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' HUP; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_xtask"),
        "with",
        "--",
        "sh",
        "-c",
        JOB,
        "sh",
    ]);
    let mut child = command.arg(&file).stdin(Stdio::null()).spawn().unwrap();
    let processes = processes_in(&file);
    send(&child, Signal::HUP);
    thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none() && processes.iter().all(|process| runs(process)));
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}
