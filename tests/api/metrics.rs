//! The metrics as Prometheus reads them.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::support::{TestApp, accounts::register, eventually};

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
