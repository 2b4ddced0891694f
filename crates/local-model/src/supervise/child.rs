//! The server's process: started with a key of its own, listened to, and ended with this one.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::SyncSender,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::events::{Event, Start};
use crate::serve::Listening;

/// From TERM to KILL.
const GRACE: Duration = Duration::from_secs(1);
const MAX_LINE: u64 = 16 * 1024;

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// Held open: its end tells the server to end.
    stdin: Option<ChildStdin>,
    /// Gives the last line of standard error when that ends.
    last_words: Option<JoinHandle<String>>,
    pub(super) key: String,
}

impl Server {
    /// Called by the thread that lives as long as the process: the kernel ends the child with the thread that started it.
    pub(super) fn start(
        program: &Path,
        model: &Path,
        key: String,
        start: Start,
        events: &SyncSender<Event>,
    ) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg("serve")
            .arg("--model")
            .arg(model)
            .env("LOCAL_MODEL_KEY", &key)
            // Its last line is a sentence for people, into which libraries would write where they were.
            .env("RUST_LIB_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(stdout) = child.stdout.take() {
            let events = events.clone();
            thread::spawn(move || read_stdout(stdout, start, &events));
        }
        let last_words = child.stderr.take().map(|stderr| thread::spawn(move || pass_on(stderr)));
        Ok(Self {
            stdin: child.stdin.take(),
            child,
            last_words,
            key,
        })
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<(ExitStatus, String)> {
        let status = self.child.try_wait().ok()??;
        Some((status, self.last_words()))
    }

    /// Ends it within [`GRACE`].
    pub(super) fn stop(&mut self) {
        self.stdin = None;
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(id, Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The pipe may be held by a grandchild after the end, so that this waits no longer than a moment.
    fn last_words(&mut self) -> String {
        let Some(thread) = self.last_words.take() else {
            return String::new();
        };
        let deadline = Instant::now() + Duration::from_millis(500);
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        if thread.is_finished() {
            thread.join().unwrap_or_default()
        } else {
            String::new()
        }
    }
}

/// The first line that is the announcement counts; the rest is taken so that the server never waits for room in the pipe.
fn read_stdout(stdout: impl Read, start: Start, events: &SyncSender<Event>) {
    let mut listening = false;
    lines(stdout, |line| {
        if !listening && let Ok(listening_event) = serde_json::from_str::<Listening>(line) {
            listening = true;
            let _ = events.send(Event::Listening(start, listening_event));
        }
    });
}

/// Lines of standard error to this process's own; the last one that is not empty comes back.
fn pass_on(stderr: impl Read) -> String {
    let mut last = String::new();
    lines(stderr, |line| {
        let _ = writeln!(io::stderr(), "{line}");
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut last);
        }
    });
    last
}

/// Longer lines come in pieces.
fn lines(stream: impl Read, mut take: impl FnMut(&str)) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => take(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r'])),
        }
    }
}
