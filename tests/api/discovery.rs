//! Models that a provider lists itself.

use std::sync::Arc;

use configuration::Config;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{FakeUpstream, Reply, TestApp, accounts::register, eventually, haproxy::free_port, soon};

/// A provider that lists its own models.
fn add(config: &mut Config, name: &str, upstream: &FakeUpstream) {
    let mut provider = config.providers["fake"].clone();
    provider.base_url = upstream.base_url().parse().ok();
    provider.discover_models = true;
    config.providers.insert(name.to_owned(), provider);
}

#[tokio::test]
async fn a_provider_that_is_silent_does_not_hold_up_the_start() {
    let silent = FakeUpstream::start().await;
    silent.always(Some(Reply::silent()));
    let app = TestApp::start_with(|config| add(config, "silent", &silent)).await;
    app.client.get("/api/ready").await.ok(200);
    let program = register(&app).await.program().await;
    let ask = json!({"model": "maple-chat", "messages": []});
    program.post("/v1/chat/completions", &ask).await.ok(200);
    silent.called(1).await;
    let look = silent.only_call();
    assert!(
        look.path.ends_with("/models") && look.hung_up.is_none(),
        "the look is over: {look:?}"
    );
}

#[tokio::test]
async fn what_a_provider_is_about_to_list_is_waited_for_and_not_called_unknown() {
    let slow = FakeUpstream::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let list = json!({"object": "list", "data": [{"id": "slow-chat"}]});
    slow.reply(Reply::json(200, &list).not_before(&gate));
    let app = TestApp::start_with(|config| add(config, "slow", &slow)).await;
    let program = register(&app).await.program().await;
    let ask = json!({"model": "slow-chat", "messages": []});
    let asking = async {
        let (called, listed, shown) = tokio::join!(
            program.post("/v1/chat/completions", &ask),
            program.get("/v1/models"),
            app.client.get("/api/models")
        );
        (called.ok(200), listed.ok(200).to_string(), shown.ok(200).to_string())
    };
    let opening = async {
        slow.called(1).await;
        assert!(slow.only_call().hung_up.is_none());
        // Time for the three to be refused, if they were.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        gate.add_permits(1);
    };
    let ((_, listed, shown), ()) = soon("the answers", async { tokio::join!(asking, opening) }).await;
    assert!(
        listed.contains("slow-chat") && shown.contains("slow-chat"),
        "{listed} {shown}"
    );
}

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
