//! One server of a cluster.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// What a cluster waits for a silent node before it takes over, in milliseconds.
const NODE_TIMEOUT: &str = "2000";

/// For servers whose folders are within that of the certificates; the port follows.
const TLS: &[&str] = &[
    "--tls-cert-file",
    "../cert.pem",
    "--tls-key-file",
    "../key.pem",
    "--tls-ca-cert-file",
    "../ca.pem",
    "--tls-auth-clients",
    "no",
    "--tls-cluster",
    "yes",
    "--tls-replication",
    "yes",
    "--port",
    "0",
    "--tls-port",
];

pub(super) struct Node {
    pub(super) port: u16,
    pub(super) child: Option<Child>,
    pub(super) hung: bool,
}

impl Node {
    pub(super) fn start(folder: &TempDir, number: usize, tls: bool) -> Self {
        let port = free_port();
        let directory = folder.path().join(number.to_string());
        std::fs::create_dir(&directory).unwrap();
        let child = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--cluster-enabled",
                "yes",
            ])
            .args([
                "--repl-diskless-sync-delay",
                "0",
                "--cluster-node-timeout",
                NODE_TIMEOUT,
                "--dir",
            ])
            .arg(&directory)
            .args(if tls { TLS } else { &["--port"] })
            .arg(port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            port,
            child: Some(child),
            hung: false,
        }
    }

    pub(super) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

/// The port of the cluster's own bus is 10,000 above.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}
