//! The real binary as a process of its own, to be killed.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use serde_json::Value;

use super::{Client, FakeUpstream, TIMEOUT};

/// A running `mapleai serve`; killed when dropped.
pub struct Process {
    child: Child,
    pub client: Client,
    pub address: SocketAddr,
    /// The lines of its log, as they come.
    log: mpsc::Receiver<Value>,
}

impl Process {
    /// Starts it in `folder` with these variables over what every test needs, and waits until it listens.
    pub fn start(folder: &Path, database_url: &str, upstream: &FakeUpstream, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mapleai"))
            .arg("serve")
            .current_dir(folder)
            .env_clear()
            .envs([
                ("DATABASE_URL", database_url),
                ("PORT", "0"),
                ("MAPLE__DATABASE__MIGRATE_ON_START", "false"),
                ("MAPLE__AUTH__ARGON2_MEMORY_KIB", "64"),
                ("MAPLE__AUTH__ARGON2_ITERATIONS", "1"),
                ("MAPLE__LOG__LEVEL", "info"),
                ("MAPLE__LOG__FORMAT", "json"),
                ("MAPLE__PROVIDERS__FAKE__KIND", "openai"),
                ("MAPLE__PROVIDERS__FAKE__BASE_URL", &upstream.base_url()),
                (
                    "MAPLE__MODELS",
                    r#"[{id = "maple-chat", provider = "fake", kind = "chat"}]"#,
                ),
            ])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let listening = told(&log, "listening");
        let address: SocketAddr = listening["address"].as_str().unwrap().parse().unwrap();
        Self {
            child,
            client: Client::new(address),
            address,
            log,
        }
    }

    /// Waits for a line of the log with this message. Lines before it are gone then.
    #[track_caller]
    pub fn told(&self, message: &str) -> Value {
        told(&self.log, message)
    }

    /// The most memory that it has had so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kibibytes * 1024
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits until it has ended, however.
    pub async fn ended(&mut self) {
        super::eventually("the end of the process", || {
            let status = self.child.try_wait().unwrap();
            async move { status }
        })
        .await;
    }

    /// As a supervisor stops it; fails unless it ends well.
    pub async fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = super::eventually("the end of the process", || {
            let status = self.child.try_wait().unwrap();
            async move { status }
        })
        .await;
        assert!(status.success(), "{status}");
    }
}

#[track_caller]
fn told(log: &mpsc::Receiver<Value>, message: &str) -> Value {
    loop {
        let line = log
            .recv_timeout(TIMEOUT)
            .unwrap_or_else(|_| panic!("the process has not told {message:?}"));
        if line["message"] == message {
            return line;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
