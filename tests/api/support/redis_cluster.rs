//! Six Redis servers as one cluster: three primaries, a replica each.

mod node;

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

use super::{TIMEOUT, certificates, eventually};
use node::Node;

pub struct RedisCluster {
    nodes: Vec<Node>,
    folder: TempDir,
    /// Whether it speaks TLS only, with an authority of its own.
    tls: bool,
}

impl RedisCluster {
    /// Servers that met on a busy machine sometimes do not agree who copies whom for a long time; then others try.
    pub async fn start() -> Self {
        Self::start_with(false).await
    }

    pub async fn start_with_tls() -> Self {
        Self::start_with(true).await
    }

    async fn start_with(tls: bool) -> Self {
        for _ in 0..3 {
            if let Ok(cluster) = tokio::time::timeout(TIMEOUT.mul_f32(0.9), Self::form(tls)).await {
                return cluster;
            }
        }
        panic!("three times six servers did not become a cluster");
    }

    async fn form(tls: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if tls {
            certificates::issue_into(folder.path());
        }
        let nodes: Vec<_> = (0..6).map(|number| Node::start(&folder, number, tls)).collect();
        let cluster = Self { nodes, folder, tls };
        for node in &cluster.nodes {
            eventually("a node's start", || async {
                (cluster.cli(node.port, &["PING"]) == "PONG").then_some(())
            })
            .await;
        }
        let addresses: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        let made = cluster
            .program()
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        for node in &cluster.nodes {
            eventually("the cluster", || async {
                let state = cluster.cli(node.port, &["CLUSTER", "INFO"]);
                // A replica that has not copied its primary yet cannot take over from it.
                let replication = cluster.cli(node.port, &["INFO", "replication"]);
                let ready = !replication.contains("role:slave") || replication.contains("master_link_status:up");
                (ready && state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:6")).then_some(())
            })
            .await;
        }
        cluster
    }

    pub fn url(&self) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let urls: Vec<_> = self
            .nodes
            .iter()
            .map(|node| format!("{scheme}://127.0.0.1:{}", node.port))
            .collect();
        urls.join(",")
    }

    /// The number of a running primary that serves the key.
    pub fn primary_of(&self, key: &str) -> usize {
        self.find_primary_of(key).unwrap_or_else(|| {
            panic!(
                "nobody serves {key}: {}",
                self.cli(self.a_living_port(), &["CLUSTER", "NODES"])
            )
        })
    }

    /// The same, or nobody while there is none.
    pub fn find_primary_of(&self, key: &str) -> Option<usize> {
        let slot: u32 = self
            .cli(self.a_living_port(), &["CLUSTER", "KEYSLOT", key])
            .parse()
            .unwrap();
        let table = self.cli(self.a_living_port(), &["CLUSTER", "NODES"]);
        let port = table.lines().find_map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let serves = words[2].contains("master")
                && !words[2].contains("fail")
                && words[8..].iter().any(|range| {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
                });
            let port = words[1].split('@').next()?.rsplit(':').next()?.parse::<u16>().ok()?;
            serves.then_some(port)
        });
        self.nodes.iter().position(|node| Some(node.port) == port)
    }

    /// The authority's certificate, in PEM.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn program(&self) -> Command {
        let mut program = Command::new("redis-cli");
        if self.tls {
            program.arg("--tls").arg("--cacert").arg(self.authority());
        }
        program
    }

    fn cli(&self, port: u16, arguments: &[&str]) -> String {
        let output = self
            .program()
            .args(["-p", &port.to_string()])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn a_living_port(&self) -> u16 {
        let node = self.nodes.iter().find(|node| node.child.is_some() && !node.hung);
        node.expect("a living node").port
    }

    pub fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.nodes[number].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn hang(&mut self, number: usize) {
        self.nodes[number].signal("STOP");
        self.nodes[number].hung = true;
    }

    pub fn wake(&mut self, number: usize) {
        self.nodes[number].signal("CONT");
        self.nodes[number].hung = false;
    }

    /// A replica takes over from its living primary, in order.
    pub fn fail_over(&self, primary: usize) {
        let id = self.cli(self.nodes[primary].port, &["CLUSTER", "MYID"]);
        let replica = self.nodes.iter().find(|node| {
            node.child.is_some()
                && !node.hung
                && self
                    .cli(node.port, &["CLUSTER", "NODES"])
                    .lines()
                    .any(|line| line.contains("myself,slave") && line.contains(&id))
        });
        assert_eq!(
            self.cli(replica.expect("a replica").port, &["CLUSTER", "FAILOVER"]),
            "OK"
        );
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        for number in 0..self.nodes.len() {
            self.kill(number);
        }
    }
}
