//! Models' answers that instances share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{me, start};
use crate::support::{Answer, Client, Reply, accounts::register, eventually, redis::Redis, upstream::completion};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_share_answers_and_go_on_without_redis() {
    let mut redis = Redis::start().await;
    let app = start(&redis).await;
    let (_second, other) = app.start_second().await;
    let ada = register(&app).await;
    let made = ada.client.post("/api/keys", &json!({"name": "k"})).await.ok(201);
    let key = made["key"].as_str().unwrap();
    let ask = |client: &Client, text: &str| {
        let body = json!({"model": "maple-chat", "seed": 1, "messages": [{"role": "user", "content": text}]});
        let request = client
            .request(Method::POST, "/v1/chat/completions")
            .bearer_auth(key)
            .json(&body);
        async { Answer::of(request).await }
    };
    assert_eq!(ask(&app.client, "shared").await.header("x-maple-cache"), "miss");
    eventually("the other instance's hit", || async {
        let answer = ask(&other, "shared").await;
        (answer.header("x-maple-cache") == "hit").then_some(())
    })
    .await;
    for hang in [true, false] {
        if hang {
            redis.hang();
        } else {
            redis.kill();
        }
        for number in 0..20 {
            let asked = Instant::now();
            let answer = ask(&other, &format!("{hang} {number}")).await;
            assert_eq!((answer.status.as_u16(), answer.header("x-maple-cache")), (200, "miss"));
            // Once 50 ms, and what a busy machine adds.
            assert!(asked.elapsed() < Duration::from_millis(400), "{:?}", asked.elapsed());
            assert_eq!(
                ask(&other, &format!("{hang} {number}")).await.header("x-maple-cache"),
                "hit"
            );
        }
        me(&other, &ada).await.ok(200);
        if hang {
            redis.wake();
        } else {
            redis.bring_back().await;
        }
        eventually("answers to be shared again", || async {
            let text = format!("again {hang} {:?}", Instant::now());
            ask(&app.client, &text).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            (ask(&other, &text).await.header("x-maple-cache") == "hit").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_calls_to_two_instances_make_one_call_each_at_most() {
    let redis = Redis::start().await;
    let app = start(&redis).await;
    let (_second, other) = app.start_second().await;
    let key = register(&app).await.create_key().await.1;
    let (here, there) = (app.client.with(&key), other.with(&key));
    let gate = Arc::new(Semaphore::new(0));
    let whole = Reply::json(200, &completion("once", Some((3, 1)))).not_before(&gate);
    app.upstream.always(Some(whole));
    let body = json!({"model": "maple-chat", "seed": 1, "messages": [{"role": "user", "content": "at once"}]});
    let callers = (0..40).map(|number| {
        let client = if number % 2 == 0 { &here } else { &there };
        client.post("/v1/chat/completions", &body)
    });
    let opened = async {
        app.upstream.called(1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        gate.add_permits(40);
    };
    let (answers, ()) = tokio::join!(join_all(callers), opened);
    for answer in &answers {
        assert_eq!(answer.ok(200)["choices"][0]["message"]["content"], "once");
    }
    let calls = app.upstream.calls().len();
    assert!((1..=2).contains(&calls), "{calls} calls");
    for client in [&here, &there] {
        assert_eq!(
            client.post("/v1/chat/completions", &body).await.header("x-maple-cache"),
            "hit"
        );
    }
    assert_eq!(app.upstream.calls().len(), calls);
}
