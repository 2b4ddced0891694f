//! What one instance ends is over for the others, as soon as is promised.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::{WITH_REDIS, WITHOUT_REDIS, known_to, models, start};
use crate::support::{Answer, Client, redis::Redis};

/// Asks the other instance until it no longer takes what was ended; fails after `bound`.
async fn refused_within(bound: Duration, other: &Client, request: impl Fn(&Client) -> reqwest::RequestBuilder) {
    let ended = Instant::now();
    loop {
        if Answer::of(request(other)).await.status == 401 {
            return;
        }
        assert!(ended.elapsed() < bound, "still taken after {:?}", ended.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_out_and_revoking_reach_other_instances_within_a_second() {
    let redis = Redis::start().await;
    let app = start(&redis).await;
    let (_second, other) = app.start_second().await;
    let (ada, _, id, key) = known_to(&app, &other).await;
    ada.client.delete(&format!("/api/keys/{id}")).await.ok(204);
    refused_within(WITH_REDIS, &other, |other| {
        other.request(Method::GET, "/v1/models").bearer_auth(&key)
    })
    .await;
    assert_eq!(
        models(&app.client, &key).await.status,
        401,
        "at once where it was revoked"
    );
    ada.client.post("/api/auth/logout", &json!({})).await.ok(204);
    refused_within(WITH_REDIS, &other, |other| {
        other
            .request(Method::GET, "/api/users/me")
            .bearer_auth(&ada.access_token)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_do_so_within_five_seconds_when_redis_hangs_and_for_good_when_it_is_back() {
    let redis = Redis::start().await;
    let app = start(&redis).await;
    let (_second, other) = app.start_second().await;
    let (ada, _, id, key) = known_to(&app, &other).await;
    redis.hang();
    ada.client.delete(&format!("/api/keys/{id}")).await.ok(204);
    ada.client.post("/api/auth/logout", &json!({})).await.ok(204);
    let by_key = |other: &Client| other.request(Method::GET, "/v1/models").bearer_auth(&key);
    let by_token = |other: &Client| {
        other
            .request(Method::GET, "/api/users/me")
            .bearer_auth(&ada.access_token)
    };
    refused_within(WITHOUT_REDIS, &other, by_key).await;
    refused_within(WITHOUT_REDIS, &other, by_token).await;
    // Redis wakes with everything that it held before.
    redis.wake();
    let (_third, newcomer) = app.start_second().await;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for client in [&app.client, &other, &newcomer] {
            assert_eq!(Answer::of(by_key(client)).await.status, 401);
            assert_eq!(Answer::of(by_token(client)).await.status, 401);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
