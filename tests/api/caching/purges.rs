//! What is purged stays purged: for whoever was not told, and for as long as anything from before might be kept.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::start;
use crate::support::{Answer, Client, accounts::register, eventually, redis::Redis};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_hears_nothing_forgets_purged_answers_all_the_same() {
    let redis = Redis::start().await;
    let app = start(&redis).await;
    let (_second, other) = app.start_second().await;
    let (ada, mallory) = (register(&app).await, register(&app).await);
    let (key, others_key) = (ada.create_key().await.1, mallory.create_key().await.1);
    let body = json!({"model": "maple-chat", "seed": 5, "messages": [{"role": "user", "content": "x"}]});
    let ask = async |client: &Client, key: &str| {
        let request = client
            .request(Method::POST, "/v1/chat/completions")
            .bearer_auth(key)
            .json(&body);
        Answer::of(request).await.header("x-maple-cache").to_owned()
    };
    for key in [&key, &others_key] {
        assert_eq!(ask(&app.client, key).await, "miss");
        eventually("the other instance's hit", || async {
            (ask(&other, key).await == "hit").then_some(())
        })
        .await;
    }
    // Nobody can listen any more, and who does is cut off.
    redis.run(&["ACL", "SETUSER", "default", "-subscribe"]);
    redis.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    ada.client
        .post("/api/cache/purge", &json!({"class": "answer"}))
        .await
        .ok(204);
    let purged = Instant::now();
    while ask(&other, &key).await == "hit" {
        assert!(purged.elapsed() < Duration::from_secs(2), "still remembered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        ask(&other, &others_key).await,
        "hit",
        "in Redis, since nobody purged it"
    );

    // For longer than any answer can be kept.
    let name = format!("maple:{{{}}}:answer:generation", ada.organization);
    let kept: i64 = redis.run(&["PTTL", &name]).parse().unwrap();
    let longest = configuration::cache::MAX_TTL.as_millis();
    assert!(u128::try_from(kept).unwrap() > longest, "{kept} ms");
}

/// Heard by the channel, a purge costs nobody else anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_that_was_heard_leaves_other_organisations_answers_in_memory() {
    let redis = Redis::start().await;
    let app = start(&redis).await;
    let (_second, other) = app.start_second().await;
    let (ada, mallory) = (register(&app).await, register(&app).await);
    let key = mallory.create_key().await.1;
    let body = json!({"model": "maple-chat", "seed": 5, "messages": [{"role": "user", "content": "x"}]});
    let ask = async |client: &Client| {
        let request = client
            .request(Method::POST, "/v1/chat/completions")
            .bearer_auth(&key)
            .json(&body);
        Answer::of(request).await.header("x-maple-cache").to_owned()
    };
    assert_eq!(ask(&other).await, "miss");
    ada.client
        .post("/api/cache/purge", &json!({"class": "answer"}))
        .await
        .ok(204);
    // Several looks at what Redis says of purges.
    tokio::time::sleep(Duration::from_secs(1)).await;
    redis.hang();
    assert_eq!(ask(&other).await, "hit");
}
