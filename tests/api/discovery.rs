//! Models that a provider lists itself.

use serde_json::json;

use crate::support::{FakeUpstream, Reply, TestApp, accounts::register, eventually, haproxy::free_port};

/// An instance that starts while its provider is away must not do without that provider's models for the rest of its life.
#[tokio::test]
async fn a_provider_that_was_away_at_the_start_is_asked_again() {
    let port = free_port();
    let app = TestApp::start_with(|config| {
        let mut late = config.providers["fake"].clone();
        late.base_url = format!("http://127.0.0.1:{port}/v1").parse().ok();
        late.discover_models = true;
        config.providers.insert("late".to_owned(), late);
    })
    .await;
    let program = register(&app).await.program().await;
    let ask = json!({"model": "late-chat", "messages": [{"role": "user", "content": "Hello"}]});
    program
        .post("/v1/chat/completions", &ask)
        .await
        .openai_error(404, "model_not_found");

    let upstream = FakeUpstream::start_at(port).await;
    // "same-name" is configured for another provider, and stays that one's.
    let list = json!({"object": "list", "data": [{"id": "late-chat"}, {"id": "same-name"}, {"id": "whisper-1"}]});
    upstream.always(Some(Reply::json(200, &list)));
    eventually("the late provider's model", || async {
        let listed = program.get("/v1/models").await.ok(200);
        listed.to_string().contains("late-chat").then_some(())
    })
    .await;
    upstream.always(None);
    let listed = program.get("/v1/models").await.ok(200);
    let ids: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(
        ids,
        ["late-chat", "maple-chat", "maple-embed", "same-name", "unreachable"]
    );
    program.post("/v1/chat/completions", &ask).await.ok(200);
    let mut named = ask;
    named["model"] = json!("same-name");
    program.post("/v1/chat/completions", &named).await.ok(200);
    let asked = |upstream: &FakeUpstream| {
        let calls = upstream.calls();
        calls
            .iter()
            .filter(|call| call.path.ends_with("/chat/completions"))
            .count()
    };
    assert_eq!((asked(&upstream), asked(&app.upstream)), (1, 1));
    let metrics = app.client.get("/metrics").await.text();
    assert!(metrics.contains(r#"gen_ai_request_model="late-chat",gen_ai_provider_name="late",outcome="completed""#));
}
