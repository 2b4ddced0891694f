//! A provider that refuses, fails, limits, hangs or breaks off: its callers are told, each within its limit, and nobody
//! else notices.

use std::time::{Duration, Instant};

use configuration::Config;
use http::Method;
use serde_json::json;

use super::{NORMAL, RECOVERY, Row, World};
use crate::support::{Answer, FakeUpstream, Reply, TestApp, eventually, haproxy::free_port};

/// Until the first byte, and between two: as short as is safe here.
const TIMEOUT: Duration = Duration::from_millis(500);
/// What a caller waits at most: that, and room for a busy machine.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

async fn world() -> World {
    world_with(|_| {}).await
}

async fn world_with(change: impl FnOnce(&mut Config)) -> World {
    let app = TestApp::start_with(|config| {
        config.auth.lookup_ttl = Duration::from_mins(1);
        let provider = config.providers.get_mut("fake").unwrap();
        provider.first_byte_timeout = TIMEOUT;
        provider.first_content_timeout = TIMEOUT;
        provider.chunk_timeout = TIMEOUT;
        provider.whole_timeout = TIMEOUT;
        change(config);
    })
    .await;
    World::over(app).await
}

/// Calls that reached the upstream. Its list of models, which health asks for, is none.
fn calls(upstream: &FakeUpstream) -> usize {
    let calls = upstream.calls();
    calls
        .iter()
        .filter(|call| call.path.ends_with("/chat/completions"))
        .count()
}

/// Programs and people at once, streamed and not, while every other group of routes goes on. Each call is made once.
async fn told(world: &World, reply: Reply, status: u16, code: &'static str) {
    let before = calls(&world.app.upstream);
    world.app.upstream.always(Some(reply));
    all_are_told(world, status, code).await;
    // Two by a program and one on the page, and one of either by the other groups.
    assert_eq!(
        calls(&world.app.upstream) - before,
        5,
        "a call was made twice, or not at all"
    );
    world.app.upstream.always(None);
}

async fn all_are_told(world: &World, status: u16, code: &'static str) {
    let program = |streamed: bool| async move {
        let chat = json!({"model": "maple-chat", "stream": streamed, "messages": []});
        let asked = Instant::now();
        let answer = world.known.post("/v1/chat/completions", &chat).await;
        assert!(asked.elapsed() < TOLD_WITHIN, "after {:?}", asked.elapsed());
        answer.openai_error(status, code);
    };
    let row = Row {
        known_key: (status, code),
        // The head of a stream, which then tells of the error.
        ask: (200, ""),
        ..NORMAL
    };
    let page = on_the_page(world, "failed", "");
    let ((), (), (), deviations) = tokio::join!(program(false), program(true), page, world.deviations(&row));
    assert!(deviations.is_empty(), "{deviations:#?}");
}

/// Asks on the page, is told of an error in time, and finds the answer with this status and text.
async fn on_the_page(world: &World, status: &str, text: &str) {
    let conversation = world.ada.conversation().await;
    let path = format!("/api/conversations/{conversation}");
    let asked = Instant::now();
    let mut events = world
        .ada
        .client
        .stream(&format!("{path}/messages"), &json!({"content": "Hi"}))
        .await;
    let problem = events.until("error").await.json();
    assert!(asked.elapsed() < TOLD_WITHIN, "after {:?}", asked.elapsed());
    assert!(problem["detail"].is_string(), "{problem}");
    let kept = world.ada.client.get(&path).await.ok(200)["messages"][1].clone();
    assert_eq!((&kept["status"], &kept["content"]), (&json!(status), &json!(text)));
}

/// The ledger has one record for each call that there was.
async fn the_ledger_is_exact(world: &World) {
    eventually("the ledger", || async {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_records")
            .fetch_one(&mut world.app.database().await)
            .await
            .unwrap();
        let calls = calls(&world.app.upstream);
        assert!(
            usize::try_from(count).unwrap() <= calls,
            "{count} records of {calls} calls"
        );
        (usize::try_from(count).unwrap() == calls).then_some(())
    })
    .await;
}

/// Health, which is at most two seconds old, once it has seen the failures.
async fn health_warns(world: &World) {
    eventually("a warning", || async {
        let health = world.operations.get("/api/health").await.ok(200);
        (health["checks"]["external_services"]["components"]["fake"]["status"] == "warn").then_some(())
    })
    .await;
}

async fn works(world: &World) {
    let chat = json!({"model": "maple-chat", "messages": []});
    world.known.post("/v1/chat/completions", &chat).await.ok(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provider_failing_or_limiting() {
    let world = world().await;
    told(&world, Reply::json(500, &json!({})), 502, "provider_error").await;
    works(&world).await;
    told(&world, Reply::json(503, &json!({})), 502, "provider_error").await;
    health_warns(&world).await;
    works(&world).await;
    // Its refusal for the moment is passed on as it is.
    let limited = json!({"error": {"message": "slow down", "type": "rate_limit", "code": "rate_limited"}});
    told(&world, Reply::json(429, &limited), 429, "rate_limited").await;
    works(&world).await;
    the_ledger_is_exact(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provider_hung() {
    let world = world().await;
    told(&world, Reply::silent(), 504, "provider_timeout").await;
    health_warns(&world).await;
    works(&world).await;
    the_ledger_is_exact(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provider_refusing_connections() {
    let port = free_port();
    let world = world_with(|config| {
        let url = format!("http://127.0.0.1:{port}/v1");
        config.providers.get_mut("fake").unwrap().base_url = Some(url.parse().unwrap());
    })
    .await;
    all_are_told(&world, 502, "provider_error").await;
    health_warns(&world).await;
    let upstream = FakeUpstream::start_at(port).await;
    tokio::time::timeout(RECOVERY, works(&world)).await.unwrap();
    assert_eq!(calls(&upstream), 1, "what was refused was not sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provider_breaking_off_mid_stream() {
    let world = world().await;
    for (reply, status, code) in [
        (Reply::events().text("Hel").break_off(), 502, "provider_error"),
        (Reply::events().text("Hel").stall(), 504, "provider_timeout"),
    ] {
        world.app.upstream.always(Some(reply));
        let streamed = async {
            let asked = Instant::now();
            let chat = json!({"model": "maple-chat", "stream": true, "messages": []});
            let answer = Answer::of(world.known.request(Method::POST, "/v1/chat/completions").json(&chat)).await;
            assert!(asked.elapsed() < TOLD_WITHIN, "after {:?}", asked.elapsed());
            assert_eq!(answer.status, 200);
            let text = answer.text();
            assert!(text.contains("Hel") && !text.contains("[DONE]"), "{text}");
            let last = text.trim_end().rsplit("data: ").next().unwrap();
            let last: serde_json::Value = serde_json::from_str(last).unwrap();
            assert_eq!(last["error"]["code"], code, "{text}");
        };
        // Who wants the answer whole gets none of it.
        let row = Row {
            known_key: (status, code),
            ..NORMAL
        };
        let page = on_the_page(&world, "partial", "Hel");
        let ((), (), deviations) = tokio::join!(streamed, page, world.deviations(&row));
        assert!(deviations.is_empty(), "{deviations:#?}");
        world.app.upstream.always(None);
        works(&world).await;
    }
    the_ledger_is_exact(&world).await;
}
