//! A Redis of the test's own, to be killed, hung and brought back.

mod refusal;

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{certificates, eventually};
pub use refusal::Refusal;

pub struct Redis {
    folder: TempDir,
    port: u16,
    running: Option<Child>,
}

impl Redis {
    pub async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self {
            folder: tempfile::tempdir().unwrap(),
            port,
            running: None,
        };
        redis.bring_back().await;
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command of an operator's; gives what it says.
    pub fn run(&self, command: &[&str]) -> String {
        let done = Command::new("redis-cli")
            .args(["-u", &self.url()])
            .args(command)
            .output()
            .unwrap();
        assert!(done.status.success(), "{command:?}");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Connections stay open and nobody answers.
    pub fn hang(&self) {
        self.signal("STOP");
    }

    pub fn wake(&self) {
        self.signal("CONT");
    }

    /// Starts it (again) and waits until it answers.
    pub async fn bring_back(&mut self) {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(self.port.to_string())
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.running = Some(child);
        self.is_there().await;
    }

    async fn is_there(&self) {
        let port = self.port;
        eventually("Redis's start", || async move {
            tokio::time::timeout(
                Duration::from_secs(1),
                tokio::net::TcpStream::connect(("127.0.0.1", port)),
            )
            .await
            .ok()?
            .ok()
        })
        .await;
    }

    fn signal(&self, name: &str) {
        let id = self.running.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(status.success(), "kill -{name}");
    }
}

/// A Redis that speaks TLS only, with an authority of its own.
pub struct TlsRedis {
    redis: Redis,
    authority: Vec<u8>,
}

impl TlsRedis {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificates::issue_into(folder.path());
        let authority = fs::read(folder.path().join("ca.pem")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--port",
                "0",
                "--tls-auth-clients",
                "no",
                "--dir",
            ])
            .arg(folder.path())
            .args([
                "--tls-cert-file",
                "cert.pem",
                "--tls-key-file",
                "key.pem",
                "--tls-ca-cert-file",
                "ca.pem",
                "--tls-port",
            ])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Redis {
            folder,
            port,
            running: Some(child),
        };
        redis.is_there().await;
        Self { redis, authority }
    }

    pub fn url(&self) -> String {
        format!("rediss://localhost:{}", self.redis.port)
    }

    /// In PEM.
    pub fn authority(&self) -> Vec<u8> {
        self.authority.clone()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // A stopped process takes the signal all the same.
        self.kill();
    }
}
