//! A real HAProxy before the instances of a test.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::eventually;

/// Killed when dropped.
pub struct Haproxy {
    child: Child,
    pub port: u16,
    _folder: TempDir,
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Haproxy {
    /// Balances over instances on these ports. It asks each whether it is ready ten times a second, and neither repeats a
    /// request nor sends it elsewhere: what fails, fails for the client.
    pub async fn start(instances: &[u16]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let servers: Vec<String> = instances
            .iter()
            .enumerate()
            .map(|(number, port)| format!("    server s{number} 127.0.0.1:{port} check\n"))
            .collect();
        let servers = servers.concat();
        let config = format!(
            "global\n    maxconn 2000\ndefaults\n    mode http\n    retries 0\n    no option redispatch\n    \
             timeout connect 2s\n    timeout client 60s\n    timeout server 60s\n    timeout check 1s\n\
             frontend front\n    bind 127.0.0.1:{port}\n    default_backend back\n\
             backend back\n    balance roundrobin\n    option httpchk GET /api/ready\n    http-check expect status 200\n    \
             default-server inter 100ms fastinter 100ms downinter 100ms fall 1 rise 1\n{servers}"
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let program = if fs::exists("/usr/sbin/haproxy").unwrap() {
            "/usr/sbin/haproxy"
        } else {
            "haproxy"
        };
        let child = Command::new(program)
            .args(["-db", "-f"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("HAProxy's start", || async move {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Self {
            child,
            port,
            _folder: folder,
        }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
