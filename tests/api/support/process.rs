//! The real binary as a process: signals, exit codes and every line it logs.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Client, eventually};

/// A running `mapleai serve`; killed when dropped.
pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// Its working directory, removed after it.
    _folder: TempDir,
}

impl Process {
    /// Starts it with a JSON log, free ports and these variables, and no others.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mapleai"))
            .current_dir(folder.path())
            .env_clear()
            .envs([
                ("PORT", "0"),
                ("MAPLE__SERVER__OPS_ADDR", "127.0.0.1:0"),
                ("MAPLE__LOG__FORMAT", "json"),
            ])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::default();
        collect(child.stdout.take().unwrap(), &lines);
        collect(child.stderr.take().unwrap(), &lines);
        Self {
            child,
            lines,
            _folder: folder,
        }
    }

    /// Everything it has written so far, to both outputs.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The first JSON line with this message, once it is there.
    pub async fn line(&self, message: &str) -> Value {
        self.line_after(0, message).await
    }

    /// The same, past the first `before` lines.
    pub async fn line_after(&self, before: usize, message: &str) -> Value {
        eventually("a log line", || async {
            self.lines()
                .iter()
                .skip(before)
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line["message"] == message)
        })
        .await
    }

    /// Clients of the main listener and of that for operations.
    pub async fn clients(&self) -> (Client, Client) {
        let listening = self.line("listening").await;
        let client = |field: &str| {
            let address: SocketAddr = listening[field].as_str().unwrap().parse().unwrap();
            Client::new(address)
        };
        (client("address"), client("operations"))
    }

    /// The same, once it is ready.
    pub async fn ready(&self) -> (Client, Client) {
        let (client, operations) = self.clients().await;
        eventually("readiness", || async {
            (client.get("/api/ready").await.status == 200).then_some(())
        })
        .await;
        (client, operations)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "kill -{name}");
    }

    /// Waits for its end, at most so long.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "still running after {within:?}: {:#?}",
                self.lines()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn collect(output: impl std::io::Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    });
}
