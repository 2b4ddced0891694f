//! A log that cannot be written: nobody notices but who reads the metric.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::support::{Client, database::TestDatabase, eventually, haproxy::free_port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_on_a_full_disk() {
    let (database, port) = (TestDatabase::create().await, free_port());
    let folder = tempfile::tempdir().unwrap();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_mapleai"))
        .current_dir(folder.path())
        .env_clear()
        .envs([
            ("DATABASE_URL", database.url.as_str()),
            ("PORT", &port.to_string()),
            ("MAPLE__LOG__LEVEL", "debug"),
            ("MAPLE__AUTH__ARGON2_MEMORY_KIB", "64"),
            // The journal of usage cannot be written either.
            ("MAPLE__USAGE__JOURNAL_DIR", "/dev/full/journal"),
        ])
        .stdout(full())
        .stderr(full())
        .spawn()
        .unwrap();
    let client = Client::new(([127, 0, 0, 1], port).into());
    eventually("the start", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    eventually("readiness", || async {
        (client.get("/api/ready").await.status == 200).then_some(())
    })
    .await;
    let body = json!({"email": "ada@maple.test", "password": "a long enough password", "name": "Ada", "organization": "Maple"});
    let made = client.post("/api/auth/register", &body).await.ok(201);
    let person = client.with(made["access_token"].as_str().unwrap());
    let key = person.post("/api/keys", &json!({"name": "k"})).await.ok(201);
    let ask = json!({"model": "maple-dev", "messages": [{"role": "user", "content": "Hi [[mock:tokens=3]]"}]});
    let program = client.with(key["key"].as_str().unwrap());
    program.post("/v1/chat/completions", &ask).await.ok(200);
    eventually("the count of lost lines", || async {
        let metrics = client.get("/metrics").await.text();
        let lost = metrics
            .lines()
            .find_map(|line| line.strip_prefix("maple_log_lines_lost_total "))?;
        (lost.parse::<u64>().unwrap() > 5).then_some(())
    })
    .await;
    eventually("the record", || async {
        let usage = person.get("/api/usage").await.ok(200);
        (usage["totals"]["requests"] == 1).then_some(())
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
}
