//! What the log of production says of a provider that fails.

use serde_json::{Value, json};

use super::{OPS_TOKEN, register, staging, start};
use crate::support::{Client, FakeUpstream, Reply, database::TestDatabase, eventually, process::Process};

/// As many as there may be of one provider in a minute.
const MAX_LINES: usize = 5;

async fn program(client: &Client) -> Client {
    let (access, _) = register(client).await;
    let made = client
        .with(&access)
        .post("/api/keys", &json!({"name": "k"}))
        .await
        .ok(201);
    client.with(made["key"].as_str().unwrap())
}

fn failures(process: &Process) -> Vec<Value> {
    let lines = process.lines().into_iter();
    lines
        .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
        .filter(|line| line["message"] == "the provider failed a call")
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_of_a_provider_has_a_line_up_to_a_bound_and_is_counted() {
    let (database, upstream) = (TestDatabase::create().await, FakeUpstream::start().await);
    let mut variables = staging(&database.url);
    variables.extend([
        ("MAPLE__LOG__LEVEL", "warn".to_owned()),
        ("MAPLE__AUTH__OPEN_REGISTRATION", "true".to_owned()),
        ("MAPLE__PROVIDERS__FAKE__KIND", "openai".to_owned()),
        ("MAPLE__PROVIDERS__FAKE__BASE_URL", upstream.base_url()),
        (
            "MAPLE__MODELS",
            r#"[{id = "chat", provider = "fake", kind = "chat", input_price = "1.00"}]"#.to_owned(),
        ),
    ]);
    let process = start(&variables);
    let (client, operations) = process.ready().await;
    let program = program(&client).await;
    let ask = |stream: bool| json!({"model": "chat", "messages": [], "stream": stream});

    upstream.reply(Reply::json(500, &json!({"error": "a secret of the provider's"})));
    program
        .request(http::Method::POST, "/v1/chat/completions")
        .header("x-request-id", "whole")
        .json(&ask(false))
        .send()
        .await
        .unwrap();
    upstream.reply(Reply::events().text("Hel").break_off());
    let streamed = program.request(http::Method::POST, "/v1/chat/completions");
    let streamed = streamed.header("x-request-id", "streamed").json(&ask(true));
    streamed.send().await.unwrap().bytes().await.unwrap();
    // Nobody failed here: the caller is told what is wrong with the request.
    upstream.reply(Reply::json(400, &json!({"error": {"message": "no"}})));
    program.post("/v1/chat/completions", &ask(false)).await;

    let lines = eventually("two lines", || async {
        let lines = failures(&process);
        (lines.len() >= 2).then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for (line, request, kind, status) in [
        (&lines[0], "whole", "upstream_status", json!(500)),
        (&lines[1], "streamed", "broken_off", Value::Null),
    ] {
        assert_eq!(
            (&line["level"], &line["target"]),
            (&json!("WARN"), &json!("mapleai::providers"))
        );
        assert_eq!((&line["provider"], &line["model"]), (&json!("fake"), &json!("chat")));
        assert_eq!(
            (&line["request_id"], &line["kind"]),
            (&json!(request), &json!(kind)),
            "{line}"
        );
        assert_eq!(line["status"], status, "{line}");
    }

    upstream.always(Some(Reply::json(502, &json!({}))));
    for _ in 0..2 * MAX_LINES {
        program
            .post("/v1/chat/completions", &ask(false))
            .await
            .openai_error(502, "provider_error");
    }
    let metrics = operations.with(OPS_TOKEN).get("/metrics").await.text();
    let series = r#"maple_provider_failures_total{gen_ai_provider_name="fake",kind="upstream_status"} 11"#;
    assert!(metrics.contains(series), "{metrics}");
    eventually("the last line", || async {
        (failures(&process).len() >= MAX_LINES).then_some(())
    })
    .await;
    assert_eq!(failures(&process).len(), MAX_LINES);
    assert!(!process.lines().iter().any(|line| line.contains("a secret of")));
}
