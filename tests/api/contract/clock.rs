//! The wall clock steps, forwards and back: waits and limits do not care, and credentials end when the clock says so.

use std::{fs, path::PathBuf};

use http::Method;
use serde_json::json;

use crate::support::{Answer, Client, database::TestDatabase, eventually, process::Process};

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
    let body = json!({"email": "ada@maple.test", "password": "a phrase of her own choice", "name": "Ada", "organization": "Maple"});
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
    let page = |client: &Client, cookie: &str| client.request(Method::GET, "/settings").header("cookie", cookie);
    let form = "email=ada%40maple.test&password=a+phrase+of+her+own+choice";
    let signed_in = client
        .request(Method::POST, "/sign-in")
        .header("content-type", "application/x-www-form-urlencoded");
    let signed_in = Answer::of(signed_in.body(form)).await;
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(Answer::of(page(&client, &cookie)).await.status, 200);

    // A stream under way does not notice the hands being moved.
    let slow = json!({"model": "maple-dev", "stream": true, "messages": [{"role": "user", "content": "Hi [[mock:tokens=30]] [[mock:delay=50ms]]"}]});
    let mut stream = program.stream("/v1/chat/completions", &slow).await;
    stream.next().await.unwrap();
    for step in ["-2h", "+1h"] {
        fs::write(&hands, step).unwrap();
        for _ in 0..5 {
            assert!(!stream.next().await.unwrap().data.contains("error"));
        }
    }
    assert_eq!(stream.rest().await.last().unwrap().data, "[DONE]");
    works().await;
    // The access token's fifteen minutes are over, the session's day is not.
    person.get("/api/users/me").await.problem(401, "token_expired");
    let (access, refresh) = tokens(&client, "/api/auth/refresh", &json!({"refresh_token": refresh})).await;
    client.with(&access).get("/api/users/me").await.ok(200);

    assert_eq!(Answer::of(page(&client, &cookie)).await.status, 200);

    fs::write(&hands, "-1h").unwrap();
    works().await;
    assert_eq!(Answer::of(page(&client, &cookie)).await.status, 200);
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
    let login = json!({"email": "ada@maple.test", "password": "a phrase of her own choice"});
    let (access, _) = tokens(&client, "/api/auth/login", &login).await;
    // The cookie's session is over like any other: its page leads to signing in.
    assert_eq!(Answer::of(page(&client, &cookie)).await.status, 303);
    let usage = client.with(&access).get("/api/usage").await.ok(200);
    assert!(usage["totals"]["requests"].as_u64().unwrap() >= 3, "{usage}");
    // How long a call took is not the difference of two readings of the wall's clock.
    let longest = eventually("the records", || async {
        let mut connection = database.connection().await;
        let (count, shortest, longest): (i64, i64, i64) = sqlx::query_as(
            "SELECT count(*), coalesce(min(latency_us), 0), coalesce(max(latency_us), 0) FROM usage_records",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert!(shortest >= 0, "a call took {shortest} us");
        (count == 5).then_some(longest)
    })
    .await;
    assert!(longest < 60_000_000, "a call took {longest} us");
    for line in process.lines() {
        assert!(!line.contains("panicked"), "{line}");
    }
}
