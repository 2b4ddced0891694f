//! A log that cannot be written: nobody notices but who reads the metric.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Client, database::TestDatabase, eventually, haproxy::free_port};

/// A process that writes its log to outputs of the test's choice.
struct Service {
    child: Child,
    client: Client,
    _database: TestDatabase,
    _folder: TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn start(outputs: impl Fn() -> Stdio, format: &str, journal: &str) -> Service {
    let (database, port) = (TestDatabase::create().await, free_port());
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_mapleai"))
        .current_dir(folder.path())
        .env_clear()
        .envs([
            ("DATABASE_URL", database.url.as_str()),
            ("PORT", &port.to_string()),
            ("MAPLE__SERVER__OPS_ADDR", "127.0.0.1:0"),
            ("MAPLE__LOG__LEVEL", "debug"),
            ("MAPLE__LOG__FORMAT", format),
            ("MAPLE__AUTH__ARGON2_MEMORY_KIB", "64"),
            ("MAPLE__USAGE__JOURNAL_DIR", journal),
        ])
        .stdout(outputs())
        .stderr(outputs())
        .spawn()
        .unwrap();
    let service = Service {
        child,
        client: Client::new(([127, 0, 0, 1], port).into()),
        _database: database,
        _folder: folder,
    };
    eventually("the start", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    eventually("readiness", || async {
        (service.client.get("/api/ready").await.status == 200).then_some(())
    })
    .await;
    service
}

/// People and programs are served, and what they use is recorded.
async fn serves(client: &Client) {
    let body = json!({"email": "ada@maple.test", "password": "a phrase of her own choice", "name": "Ada", "organization": "Maple"});
    let made = client.post("/api/auth/register", &body).await.ok(201);
    let person = client.with(made["access_token"].as_str().unwrap());
    let key = person.post("/api/keys", &json!({"name": "k"})).await.ok(201);
    let ask = json!({"model": "maple-dev", "messages": [{"role": "user", "content": "Hi [[mock:tokens=3]]"}]});
    let program = client.with(key["key"].as_str().unwrap());
    program.post("/v1/chat/completions", &ask).await.ok(200);
    eventually("the record", || async {
        let usage = person.get("/api/usage").await.ok(200);
        (usage["totals"]["requests"] == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_on_a_full_disk() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for format in ["pretty", "json"] {
        // The journal of usage cannot be written either.
        let service = start(full, format, "/dev/full/journal").await;
        serves(&service.client).await;
        eventually("the count of lost lines", || async {
            let metrics = service.client.get("/metrics").await.text();
            let lost = metrics
                .lines()
                .find_map(|line| line.strip_prefix("maple_log_lines_lost_total "))?;
            (lost.parse::<u64>().unwrap() > 5).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_whose_reader_has_stopped() {
    // The pipes stay open, and nobody reads from them: once they are full, whoever writes to them waits.
    let mut service = start(Stdio::piped, "json", "").await;
    for _ in 0..40 {
        let answers = join_all((0..20).map(|_| service.client.get("/api/models"))).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
    serves(&service.client).await;
    // Nor is a stop held up by it.
    let pid = service.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let told = Instant::now();
    let status = eventually("the end", || {
        let status = service.child.try_wait().unwrap();
        async move { status }
    })
    .await;
    assert!(status.success(), "{status}");
    assert!(told.elapsed() < Duration::from_secs(15), "{:?}", told.elapsed());
}
