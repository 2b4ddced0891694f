//! Six Redis servers as one cluster: three primaries, a replica each.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{PATIENCE, eventually};

/// What a cluster waits for a silent node before it takes over, in milliseconds.
const NODE_TIMEOUT: &str = "2000";

pub struct RedisCluster {
    nodes: Vec<Node>,
    _folder: TempDir,
}

struct Node {
    port: u16,
    child: Option<Child>,
    hung: bool,
}

impl RedisCluster {
    /// Servers that met on a busy machine sometimes do not agree who copies whom for a long time; then others try.
    pub async fn start() -> Self {
        for _ in 0..3 {
            if let Ok(cluster) = tokio::time::timeout(PATIENCE.mul_f32(0.9), Self::form()).await {
                return cluster;
            }
        }
        panic!("three times six servers did not become a cluster");
    }

    async fn form() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes: Vec<_> = (0..6).map(|number| Node::start(&folder, number)).collect();
        let cluster = Self { nodes, _folder: folder };
        for node in &cluster.nodes {
            eventually("a node's start", || async {
                (cli(node.port, &["PING"]) == "PONG").then_some(())
            })
            .await;
        }
        let addresses: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        for node in &cluster.nodes {
            eventually("the cluster", || async {
                let state = cli(node.port, &["CLUSTER", "INFO"]);
                // A replica that has not copied its primary yet cannot take over from it.
                let replication = cli(node.port, &["INFO", "replication"]);
                let ready = !replication.contains("role:slave") || replication.contains("master_link_status:up");
                (ready && state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:6")).then_some(())
            })
            .await;
        }
        cluster
    }

    pub fn url(&self) -> String {
        let urls: Vec<_> = self
            .nodes
            .iter()
            .map(|node| format!("redis://127.0.0.1:{}", node.port))
            .collect();
        urls.join(",")
    }

    /// The number of a running primary that serves the key.
    pub fn primary_of(&self, key: &str) -> usize {
        self.find_primary_of(key).unwrap_or_else(|| {
            panic!(
                "nobody serves {key}: {}",
                cli(self.a_living_port(), &["CLUSTER", "NODES"])
            )
        })
    }

    /// The same, or nobody while there is none.
    pub fn find_primary_of(&self, key: &str) -> Option<usize> {
        let slot: u32 = cli(self.a_living_port(), &["CLUSTER", "KEYSLOT", key]).parse().unwrap();
        let table = cli(self.a_living_port(), &["CLUSTER", "NODES"]);
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
        let id = cli(self.nodes[primary].port, &["CLUSTER", "MYID"]);
        let replica = self.nodes.iter().find(|node| {
            node.child.is_some()
                && !node.hung
                && cli(node.port, &["CLUSTER", "NODES"])
                    .lines()
                    .any(|line| line.contains("myself,slave") && line.contains(&id))
        });
        assert_eq!(cli(replica.expect("a replica").port, &["CLUSTER", "FAILOVER"]), "OK");
    }
}

impl Node {
    fn start(folder: &TempDir, number: usize) -> Self {
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
                "--port",
                &port.to_string(),
                "--dir",
            ])
            .arg(&directory)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            port,
            child: Some(child),
            hung: false,
        }
    }

    fn signal(&self, name: &str) {
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

fn cli(port: u16, arguments: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(arguments)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        for number in 0..self.nodes.len() {
            self.kill(number);
        }
    }
}
