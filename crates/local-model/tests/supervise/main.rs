//! `local-model run`: what it tells in its state file while a server, here a script, lives and dies. Needs no weights.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ends;
mod health;
mod states;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use local_model::supervise::state::State;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);

/// A `local-model run` and the files that it and its server write.
struct Run {
    folder: TempDir,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Run {
    /// With a server that behaves as `mode` says; times in milliseconds: back-off, loading, between attempts.
    fn start(mode: &str, times: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join(format!("{mode}.gguf"));
        fs::write(&model, b"GGUF and what else a file of this kind begins with").unwrap();
        Self::with(folder, times, &["--model", model.to_str().unwrap()])
    }

    fn with(folder: TempDir, times: &str, arguments: &[&str]) -> Self {
        let program = folder.path().join("server");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/supervise/server.py");
        fs::write(&program, format!("#!/bin/sh\nexec python3 {script} \"$@\"\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_local-model"))
            .arg("run")
            .arg("--state")
            .arg(folder.path().join("state.json"))
            .arg("--server")
            .arg(program)
            .args(["--times", times])
            .args(arguments)
            .env("MAPLE_CACHE", folder.path())
            .env_remove("LOCAL_MODEL")
            .stdin(Stdio::piped())
            .stderr(fs::File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Self {
            folder,
            stdin: child.stdin.take(),
            child,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn state(&self) -> Option<State> {
        serde_json::from_slice(&fs::read(self.path("state.json")).ok()?).ok()
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap()
    }

    /// Waits until the state is one that `is` takes.
    fn until<T>(&self, what: &str, is: impl Fn(State) -> Option<T>) -> T {
        let found = wait_for(|| self.state().and_then(&is));
        found.unwrap_or_else(|| panic!("not {what} but {:?}\n{}", self.state(), self.stderr()))
    }

    /// Port and key of a server that is ready.
    fn ready(&self) -> (u16, String) {
        self.until("ready", |state| match state {
            State::Ready { url, key, model } => {
                assert_eq!(model, "smollm2-135m");
                let port = url
                    .strip_prefix("http://127.0.0.1:")?
                    .strip_suffix("/v1")?
                    .parse()
                    .ok()?;
                Some((port, key))
            }
            _ => None,
        })
    }

    fn failed(&self) -> String {
        self.until("failed", |state| {
            if let State::Failed { reason } = state {
                Some(reason)
            } else {
                None
            }
        })
    }

    /// Process ids and keys of the servers that were started.
    fn starts(&self) -> Vec<(Pid, String)> {
        let text = fs::read_to_string(self.path("starts")).unwrap_or_default();
        let parse = |line: &str| {
            let (id, key) = line.split_once(' ').unwrap();
            (Pid::from_raw(id.parse().unwrap()).unwrap(), key.to_owned())
        };
        text.lines().map(parse).collect()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end: the status.
    fn ended(&mut self, limit: Duration) -> Option<i32> {
        let began = Instant::now();
        let status = wait_for(|| self.child.try_wait().unwrap()).expect("it goes on");
        assert!(began.elapsed() < limit, "it took {:?}", began.elapsed());
        status.code()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process that was reaped, or waits to be.
fn is_gone(id: Pid) -> bool {
    let status =
        fs::read_to_string(Path::new("/proc").join(id.as_raw_nonzero().to_string()).join("status")).unwrap_or_default();
    test_kill_process(id).is_err() || status.contains("State:\tZ")
}

/// The first line that answers a GET.
fn get(port: u16, path: &str, key: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let _ = write!(stream, "GET {path} HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer.lines().next().unwrap_or_default().to_owned()
}
