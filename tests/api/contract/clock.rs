//! The wall clock steps, forwards and back: waits and limits do not care, and credentials end when the clock says so.

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::support::{Client, database::TestDatabase, process::Process};

/// Where Debian keeps it, whatever the architecture.
fn libfaketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    folders
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .expect("libfaketime, from Debian's package faketime")
}

async fn tokens(client: &Client, path: &str, body: &serde_json::Value) -> (String, String) {
    let answer = client.post(path, body).await.json();
    let token = |name: &str| {
        answer[name]
            .as_str()
            .unwrap_or_else(|| panic!("{path}: {answer}"))
            .to_owned()
    };
    (token("access_token"), token("refresh_token"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_stepping() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let hands = folder.path().join("hands");
    fs::write(&hands, "+0").unwrap();
    let library = libfaketime();
    let process = Process::start(&[
        ("DATABASE_URL", database.url.as_str()),
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", hands.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        // As a step of the real clock: what counts from the start of the machine goes on.
        ("DONT_FAKE_MONOTONIC", "1"),
        ("MAPLE__AUTH__ARGON2_MEMORY_KIB", "64"),
    ]);
    let (client, _) = process.ready().await;
    let body = json!({"email": "ada@maple.test", "password": "a long enough password", "name": "Ada", "organization": "Maple"});
    let (access, refresh) = tokens(&client, "/api/auth/register", &body).await;
    let person = client.with(&access);
    let key = person.post("/api/keys", &json!({"name": "k"})).await.ok(201);
    let program = client.with(key["key"].as_str().unwrap());
    let ask = json!({"model": "maple-dev", "messages": [{"role": "user", "content": "Hi [[mock:tokens=3]]"}]});
    let works = || async {
        program.post("/v1/chat/completions", &ask).await.ok(200);
        client.get("/api/ready").await.ok(200);
        client.get("/api/health?probe=liveness").await.ok(200);
        assert_ne!(client.get("/api/health").await.status, 503);
    };
    works().await;

    fs::write(&hands, "+1h").unwrap();
    works().await;
    // The access token's fifteen minutes are over, the session's day is not.
    person.get("/api/users/me").await.problem(401, "token_expired");
    let (access, refresh) = tokens(&client, "/api/auth/refresh", &json!({"refresh_token": refresh})).await;
    client.with(&access).get("/api/users/me").await.ok(200);

    fs::write(&hands, "-1h").unwrap();
    works().await;
    // Signed in the clock's future: nothing is over.
    client.with(&access).get("/api/users/me").await.ok(200);
    let conversation = client
        .with(&access)
        .post("/api/conversations", &json!({}))
        .await
        .ok(201);
    assert!(conversation["id"].is_string());

    fs::write(&hands, "+25h").unwrap();
    works().await;
    client
        .post("/api/auth/refresh", &json!({"refresh_token": refresh}))
        .await
        .problem(401, "unauthenticated");
    let login = json!({"email": "ada@maple.test", "password": "a long enough password"});
    let (access, _) = tokens(&client, "/api/auth/login", &login).await;
    let usage = client.with(&access).get("/api/usage").await.ok(200);
    assert!(usage["totals"]["requests"].as_u64().unwrap() >= 3, "{usage}");
    for line in process.lines() {
        assert!(!line.contains("panicked"), "{line}");
    }
}
