//! What a request may say, and what is refused with which words.

use serde_json::{Value, json};

use crate::support::server::{KEY, TestServer, question};

#[tokio::test]
async fn every_route_asks_for_the_key() {
    let server = TestServer::start();
    for path in ["/health", "/v1/models", "/v1/chat/completions", "/elsewhere"] {
        assert_eq!(server.get(path, "another key").await.status, 401, "{path}");
    }
    let models = server.get("/v1/models", KEY).await.json();
    assert_eq!(
        (&models["data"][0]["id"], &models["data"][0]["context_window"]),
        (&json!("tiny"), &json!(512))
    );
    assert_eq!(server.get("/elsewhere", KEY).await.status, 404);
    assert_eq!(server.get("/v1/models/tiny", KEY).await.json(), models["data"][0]);
    assert_eq!(server.get("/v1/models/other", KEY).await.status, 404);
    assert_eq!(server.get("/v1/chat/completions", KEY).await.status, 405);
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_empty_ones_are_absent() {
    let server = TestServer::start();
    let plain = server.post(&question("Hello", json!({}))).await.content();
    let more = json!({"user": "u-1", "store": true, "top_k": 5, "tools": [], "tool_choice": "auto", "logprobs": false, "n": 1, "stop": null,
        "response_format": {"type": "text"}, "stream": null, "model": "tiny"});
    assert_eq!(server.post(&question("Hello", more)).await.content(), plain);
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_its_name() {
    let server = TestServer::start();
    let cases = [
        (json!({"tools": [{"type": "function"}]}), "tools"),
        (json!({"functions": [{"name": "f"}]}), "functions"),
        (json!({"response_format": {"type": "json_object"}}), "response_format"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"logit_bias": {"50256": -100}}), "logit_bias"),
        (json!({"n": 2}), "n"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
            "messages[0].content[0]",
        ),
        (
            json!({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}),
            "messages[0].role",
        ),
    ];
    for (fields, parameter) in cases {
        refuses(&server, fields, parameter, "unsupported_parameter").await;
    }
}

#[tokio::test]
async fn a_field_out_of_its_range_is_refused_with_what_is_allowed() {
    let server = TestServer::start();
    let cases = [
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (json!({"max_completion_tokens": "10"}), "max_completion_tokens"),
        (json!({"temperature": 2.1}), "temperature"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"top_p": -0.1}), "top_p"),
        (json!({"frequency_penalty": 3}), "frequency_penalty"),
        (json!({"seed": 1.5}), "seed"),
        (json!({"stop": 5}), "stop"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"stream_options": 5}), "stream_options"),
        (json!({"messages": []}), "messages"),
        (
            json!({"messages": [{"role": "robot", "content": "x"}]}),
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": 5}]}),
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            "messages[0].content[0]",
        ),
    ];
    for (fields, parameter) in cases {
        refuses(&server, fields, parameter, "invalid_value").await;
    }
}

async fn refuses(server: &TestServer, fields: Value, parameter: &str, code: &str) {
    let refused = server.post(&question("Hello", fields)).await;
    assert_eq!(refused.status, 400, "{parameter}: {}", refused.text);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], code, "{parameter}");
    assert_eq!(error["param"], parameter);
    assert_eq!(error["type"], "invalid_request_error");
    let last = parameter.rsplit('.').next().unwrap().split('[').next().unwrap();
    let message = error["message"].as_str().unwrap();
    let words = [last, "must", "text only", "does not support"];
    assert!(words.iter().any(|word| message.contains(word)), "{message}");
}

#[tokio::test]
async fn another_model_or_no_json_is_refused() {
    let server = TestServer::start();
    let other = server.post(&question("Hello", json!({"model": "gpt-4o"}))).await;
    assert_eq!(
        (other.status, &other.json()["error"]["code"]),
        (404, &json!("model_not_found"))
    );
    for no_object in [json!("no object"), json!([])] {
        let refused = server.post(&no_object).await;
        assert!(
            refused.status == 400 && refused.text.contains("it must be an object"),
            "{}",
            refused.text
        );
    }
    let surrogate = server.post(&json!({"messages": "\u{fffd}"})).await;
    assert_eq!(surrogate.status, 400);
}

#[tokio::test]
async fn text_parts_are_joined_and_a_developer_is_the_system() {
    let server = TestServer::start();
    let of = |system: &str, content: Value| {
        let messages = json!([{"role": system, "content": "Be brief"}, {"role": "user", "content": content}, {"role": "assistant", "content": null},
            {"role": "user", "content": "Go on"}]);
        question("", json!({"messages": messages}))
    };
    let plain = server.post(&of("system", json!("Hello you"))).await.content();
    let parts = json!([{"type": "text", "text": "Hello "}, {"type": "text", "text": "you"}]);
    assert_eq!(server.post(&of("developer", parts)).await.content(), plain);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let server = TestServer::start();
    let refused = server.post(&question(&"a".repeat(5 << 20), json!({}))).await;
    assert_eq!(refused.status, 413, "{}", refused.text);
}
