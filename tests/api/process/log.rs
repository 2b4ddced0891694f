//! The form, the level and the place of the log.

use std::fs;

use http::Method;
use serde_json::json;

use super::{OPS_TOKEN, register, staging, start};
use crate::support::{Answer, database::TestDatabase, eventually, process::Process};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_has_the_schema_and_says_whose_request_it_was() {
    let database = TestDatabase::create().await;
    let process = start(&staging(&database.url));
    let (client, _) = process.ready().await;
    let (access, _) = register(&client).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = client
        .request(Method::GET, "/api/users/me")
        .header("x-request-id", "the-request")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .bearer_auth(&access);
    let me = Answer::of(request).await.ok(200);
    let line = eventually("the request's line", || async {
        process
            .lines()
            .iter()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|line| line["request_id"] == "the-request" && line["message"] == "request answered")
    })
    .await;
    assert_eq!(line["trace_id"], trace);
    assert_eq!(
        (&line["route"], &line["method"], &line["status"]),
        (&json!("/api/users/me"), &json!("GET"), &json!(200))
    );
    assert_eq!(line["user_id"], me["id"]);
    assert!(
        line["organization_id"].is_string() && line["duration_ms"].is_u64(),
        "{line}"
    );
    for line in process.lines() {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        for field in ["time", "level", "target", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_can_be_changed_while_it_runs() {
    let database = TestDatabase::create().await;
    let mut variables = staging(&database.url);
    variables.push(("MAPLE__LOG__LEVEL", "error".to_owned()));
    let process = start(&variables);
    let (client, operations) = process.ready().await;
    let answered = |process: &Process| process.lines().iter().any(|line| line.contains("request answered"));
    client.get("/api/models").await.ok(200);
    let put = |body: serde_json::Value| {
        operations
            .request(Method::PUT, "/log-level")
            .bearer_auth(OPS_TOKEN)
            .json(&body)
    };
    Answer::of(put(json!({"level": "loud"})))
        .await
        .problem(422, "invalid_fields");
    assert!(!answered(&process));
    let changed = Answer::of(put(json!({"level": "info", "for": "1s"}))).await.ok(200);
    assert_eq!(
        (&changed["level"], &changed["configured"]),
        (&json!("info"), &json!("error"))
    );
    client.get("/api/models").await.ok(200);
    eventually("a line", || async { answered(&process).then_some(()) }).await;
    eventually("the old level", || async {
        let level = operations.get("/log-level").await.ok(200);
        (level["level"] == "error").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staging_logs_to_a_file_and_goes_on_where_it_cannot() {
    let database = TestDatabase::create().await;
    let mut variables = staging(&database.url);
    variables.retain(|(name, _)| *name != "MAPLE__LOG__FILE");
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("deep/in/maple.log");
    variables.push(("MAPLE__LOG__FILE", file.to_str().unwrap().to_owned()));
    variables.push(("PORT", "0".to_owned()));
    let process = start(&variables);
    let log = eventually("the log file", || async {
        let folder = fs::read_dir(file.parent().unwrap()).ok()?;
        let text: String = folder
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        text.contains("\"listening\"").then_some(text)
    })
    .await;
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
    assert!(process.lines().is_empty(), "{:?}", process.lines());

    // A folder that cannot be: the log goes to standard output, and says so.
    variables.retain(|(name, _)| *name != "MAPLE__LOG__FILE");
    variables.push(("MAPLE__LOG__FILE", "/dev/null/maple.log".to_owned()));
    let process = start(&variables);
    process.ready().await;
    process
        .line("the log file cannot be written; the log goes to standard output")
        .await;
}
