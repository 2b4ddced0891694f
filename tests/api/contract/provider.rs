//! A provider that refuses, fails, limits, hangs or breaks off: its callers are told, each within its limit, and nobody
//! else notices.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use super::World;
use crate::support::{Answer, Reply, TestApp};

async fn world() -> World {
    let app = TestApp::start_with(|config| {
        config.auth.lookup_ttl = Duration::from_mins(1);
        let provider = config.providers.get_mut("fake").unwrap();
        provider.first_byte_timeout = Duration::from_millis(500);
        provider.chunk_timeout = Duration::from_millis(500);
    })
    .await;
    World::over(app).await
}

/// Programs and people at once, streamed and not; the rest of the service goes on.
async fn told(world: &World, reply: impl Fn() -> Reply, status: u16, code: &str, within: Duration) {
    let chat = |streamed: bool| json!({"model": "maple-chat", "stream": streamed, "messages": []});
    for streamed in [false, true] {
        world.app.upstream.reply(reply());
        let asked = Instant::now();
        let request = world
            .known
            .request(Method::POST, "/v1/chat/completions")
            .json(&chat(streamed));
        let answer = Answer::of(request).await;
        assert!(asked.elapsed() < within, "after {:?}", asked.elapsed());
        assert_eq!(answer.openai_error(status, code)["code"], code);
    }
    world.app.upstream.reply(reply());
    let path = format!("/api/conversations/{}/messages", world.conversation);
    let asked = Instant::now();
    let mut events = world.ada.client.stream(&path, &json!({"content": "Hi"})).await;
    let problem = events.until("error").await.json();
    assert!(asked.elapsed() < within, "after {:?}", asked.elapsed());
    assert!(problem["detail"].is_string(), "{problem}");
    world.ada.client.get("/api/conversations").await.ok(200);
    world.app.client.get("/api/ready").await.ok(200);
    world.app.client.get("/api/health").await.ok(200);
}

async fn works(world: &World) {
    let chat = json!({"model": "maple-chat", "messages": []});
    world.known.post("/v1/chat/completions", &chat).await.ok(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provider_failing_or_limiting() {
    let world = world().await;
    let second = Duration::from_secs(1);
    told(&world, || Reply::json(500, &json!({})), 502, "provider_error", second).await;
    told(&world, || Reply::json(503, &json!({})), 502, "provider_error", second).await;
    works(&world).await;
    // Its refusal for the moment is passed on as it is.
    let limited = || {
        Reply::json(
            429,
            &json!({"error": {"message": "slow down", "type": "rate_limit", "code": "rate_limited"}}),
        )
    };
    told(&world, limited, 429, "rate_limited", second).await;
    works(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provider_hung_or_gone() {
    let world = world().await;
    told(
        &world,
        Reply::silent,
        504,
        "provider_timeout",
        Duration::from_millis(1_500),
    )
    .await;
    works(&world).await;
    let asked = Instant::now();
    let unreachable = json!({"model": "unreachable", "messages": []});
    world
        .known
        .post("/v1/chat/completions", &unreachable)
        .await
        .openai_error(502, "provider_error");
    assert!(asked.elapsed() < Duration::from_secs(1), "after {:?}", asked.elapsed());
    works(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provider_breaking_off_mid_stream() {
    let world = world().await;
    for reply in [
        Reply::events().text("Hel").break_off(),
        Reply::events().text("Hel").stall(),
    ] {
        world.app.upstream.reply(reply);
        let asked = Instant::now();
        let chat = json!({"model": "maple-chat", "stream": true, "messages": []});
        let answer = Answer::of(world.known.request(Method::POST, "/v1/chat/completions").json(&chat)).await;
        assert!(
            asked.elapsed() < Duration::from_millis(1_500),
            "after {:?}",
            asked.elapsed()
        );
        let text = answer.text();
        assert!(
            text.contains("Hel") && text.contains("\"error\"") && !text.contains("[DONE]"),
            "{text}"
        );
    }
    works(&world).await;
}
