//! The metrics as Prometheus reads them.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;

use crate::support::{Reply, TestApp, accounts::register, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_has_nothing_to_say_and_nothing_is_missing() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let program = ada.program().await;
    let ask = json!({"model": "maple-chat", "stream": true, "messages": []});
    program.stream("/v1/chat/completions", &ask).await.rest().await;
    app.client.get("/api/health").await;
    let wanted = [
        "http_server_request_duration_seconds_bucket",
        "http_server_active_requests",
        "maple_completions_total",
        "maple_completions_in_flight",
        "gen_ai_client_operation_duration_seconds_bucket",
        "gen_ai_server_time_to_first_token_seconds_bucket",
        "maple_tokens_total",
        "maple_cost_nanodollars_total",
        "maple_request_queue_length",
        "maple_request_queue_duration_seconds",
        "maple_requests_refused_total",
        "maple_database_connections{database=\"primary\",state=\"idle\"}",
        "maple_database_requests_waiting",
        "maple_breaker_open",
        "maple_usage_backlog_records",
        "maple_active_users{window=\"day\"}",
        "maple_active_users{window=\"week\"}",
        "maple_sign_ups_total",
        "maple_feature_uses_total",
        "maple_log_lines_lost_total",
        "maple_runtime_tasks",
        "maple_build_info",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
    ];
    let text = eventually("every metric", || async {
        let text = app.client.get("/metrics").await.text();
        wanted.iter().all(|name| text.contains(name)).then_some(text)
    })
    .await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let said = [said.stdout, said.stderr]
        .map(|text| String::from_utf8(text).unwrap())
        .concat();
    assert_eq!(said, "");
    // Every metric is described and has a type.
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        assert!(
            [name, family]
                .iter()
                .any(|name| text.contains(&format!("# HELP {name} "))),
            "{name} is not described"
        );
    }
}

/// How often `reason` was counted.
fn refusals(text: &str, reason: &str) -> u64 {
    let series = format!("maple_requests_refused_total{{reason=\"{reason}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap_or_else(|| panic!("{series} is missing")).parse().unwrap()
}

/// Whatever turns a caller away to protect the service is counted, and there to be seen before it first happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_is_counted_by_its_reason() {
    let app = TestApp::start_with(|config| {
        config.auth.throttle_per_address = 2;
        config.auth.throttle_per_account = 1;
        config.usage.queue_capacity = 1;
        // Nothing is written while the test looks.
        config.usage.flush_interval = Duration::from_hours(1);
        config.usage.batch_size = 1_000;
    })
    .await;
    let ada = register(&app).await;
    let program = ada.program().await;
    // Known before strangers come from the same address.
    program.get("/v1/models").await.ok(200);
    let reasons = [
        "throttled",
        "busy",
        "usage_backlog",
        "unknown_keys",
        "organization_limit",
        "overloaded",
    ];
    let text = app.client.get("/metrics").await.text();
    let before = reasons.map(|reason| refusals(&text, reason));

    let wrong = json!({"email": ada.email, "password": "wrong"});
    app.client
        .post("/api/auth/login", &wrong)
        .await
        .problem(401, "invalid_credentials");
    app.client
        .post("/api/auth/login", &wrong)
        .await
        .problem(429, "throttled");
    for number in 0..3 {
        app.client.with(&format!("mk_{number:0>43}")).get("/v1/models").await;
    }
    // One call under way has the only place for a record.
    app.upstream.reply(Reply::silence());
    let ask = json!({"model": "maple-chat", "messages": []});
    let asking = tokio::spawn(
        program
            .request(http::Method::POST, "/v1/chat/completions")
            .json(&ask)
            .send(),
    );
    app.upstream.called(1).await;
    program
        .post("/v1/chat/completions", &ask)
        .await
        .openai_error(503, "usage_backlog_full");
    asking.abort();

    let text = app.client.get("/metrics").await.text();
    // Other tests may run in this process, if they are not run one by one.
    for (reason, before) in reasons
        .iter()
        .zip(before)
        .filter(|(reason, _)| ["throttled", "usage_backlog"].contains(*reason))
    {
        assert!(refusals(&text, reason) > before, "{reason}");
    }
}
