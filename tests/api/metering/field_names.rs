//! Upstreams written in Go take names without regard to case: what such a server does is what was routed, priced and recorded.

use serde_json::{Map, Value, json};

use crate::support::{TestApp, accounts::register};

/// A name as Go's `encoding/json` compares names: each letter by the least of those that simple folding takes for it.
fn as_go_folds(name: &str) -> String {
    name.chars()
        .map(|letter| match letter {
            'ſ' => 'S',
            '\u{212a}' => 'K',
            other => other.to_ascii_uppercase(),
        })
        .collect()
}

/// The field as such a server reads it: the last of all that fold to it.
fn as_go_reads(body: &Map<String, Value>, field: &str) -> Value {
    let same = body.iter().filter(|(name, _)| as_go_folds(name) == as_go_folds(field));
    same.map(|(_, value)| value.clone()).next_back().unwrap_or_default()
}

#[tokio::test]
async fn a_name_that_only_some_servers_would_read_is_refused_by_name() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    let chat = json!({"model": "maple-chat", "messages": [{"role": "user", "content": "Hi"}]});
    let odd = [
        ("/v1/chat/completions", "MODEL", json!("gpt-expensive"), "model"),
        ("/v1/chat/completions", "Model", json!("gpt-expensive"), "model"),
        ("/v1/chat/completions", "Stream", json!(true), "stream"),
        ("/v1/chat/completions", "ſtream", json!(true), "stream"),
        (
            "/v1/chat/completions",
            "Stream_Options",
            json!({"include_usage": false}),
            "stream_options",
        ),
        (
            "/v1/chat/completions",
            "stream_option\u{17f}",
            json!({"include_usage": false}),
            "stream_options",
        ),
        ("/v1/chat/completions", "Messages", json!([]), "messages"),
        ("/v1/chat/completions", "N", json!(100), "n"),
        ("/v1/chat/completions", "Temperature", json!(0), "temperature"),
        ("/v1/embeddings", "MODEL", json!("gpt-expensive"), "model"),
        ("/v1/embeddings", "Input", json!("much more"), "input"),
    ];
    for (path, name, value, meant) in odd {
        let mut body = if path.ends_with("embeddings") {
            json!({"model": "maple-embed", "input": "x"})
        } else {
            chat.clone()
        };
        body[name] = value;
        let error = program.post(path, &body).await.openai_error(400, "invalid_request");
        let told = format!("unknown parameter '{name}'; did you mean '{meant}'");
        assert_eq!((&error["message"], &error["param"]), (&json!(told), &json!(meant)));
    }
    let mut within = chat.clone();
    within["stream"] = true.into();
    within["stream_options"] = json!({"include_usage": true, "Include_Usage": false});
    let error = program
        .post("/v1/chat/completions", &within)
        .await
        .openai_error(400, "invalid_request");
    assert_eq!(
        error["message"],
        "unknown parameter 'stream_options.Include_Usage'; did you mean 'include_usage'"
    );
    let twice = r#"{"model":"maple-chat","mod\u0065l":"gpt-expensive","messages":[]}"#;
    program
        .post_raw("/v1/chat/completions", twice)
        .await
        .openai_error(400, "invalid_json");
    assert!(app.upstream.calls().is_empty());

    // What does reach the upstream means there what it means here.
    let mut passes = chat;
    passes["stream"] = true.into();
    passes["x_MODEL"] = "another".into();
    passes["modelStream"] = false.into();
    program.stream("/v1/chat/completions", &passes).await.rest().await;
    let sent = app.upstream.only_call().json();
    let sent = sent.as_object().unwrap();
    assert_eq!(as_go_reads(sent, "model"), "upstream-chat-001");
    assert_eq!(as_go_reads(sent, "stream"), true);
    assert_eq!(as_go_reads(sent, "stream_options"), json!({"include_usage": true}));
}
