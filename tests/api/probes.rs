//! Health, readiness, the operations listener and what they cost.

mod listener;
mod readiness;
mod redis_writes;
mod usage_records;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Client, Reply, TestApp, accounts::register, eventually, postgres::Postgres, redis::Redis};

fn operations(app: &TestApp) -> Client {
    Client::new(app.server.ops_address().expect("an operations listener"))
}

fn check<'a>(health: &'a Value, name: &str) -> &'a Value {
    &health["checks"][name]
}

#[tokio::test]
async fn health_tells_each_check_and_strangers_nothing_but_statuses() {
    let app = TestApp::start().await;
    let answer = app.client.get("/api/health").await;
    assert_eq!(answer.header("content-type"), "application/health+json");
    let body = answer.ok(200);
    for name in [
        "database_connection",
        "redis_connection",
        "external_services",
        "usage_records",
    ] {
        let check = check(&body, name);
        assert!(check["latency_ms"].is_number() && check["age_ms"].is_u64(), "{body}");
    }
    let time = check(&body, "database_connection")["time"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
    // One of the two configured providers refuses connections: a warning, and the service goes on.
    assert_eq!(check(&body, "external_services")["status"], "warn");
    assert_eq!(body["status"], "warn");
    assert!(
        !answer.text().contains("127.0.0.1") && !answer.text().contains("refusing"),
        "{body}"
    );

    let full = operations(&app).get("/api/health").await.ok(200);
    let providers = &check(&full, "external_services")["components"];
    assert_eq!(providers["fake"]["status"], "pass");
    assert_eq!(providers["refusing"]["status"], "warn");
    assert!(
        providers["refusing"]["detail"]
            .as_str()
            .unwrap()
            .contains("could not be reached"),
        "{full}"
    );
    let primary = &check(&full, "database_connection")["components"]["primary"];
    assert!(
        primary["detail"].as_str().unwrap().contains("connections in use"),
        "{full}"
    );
    app.client
        .get("/api/health?probe=readiness")
        .await
        .problem(422, "invalid_fields");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_probes_costs_one_check_and_no_tokens() {
    let app = TestApp::start().await;
    let client = app.client.clone();
    let probes = (0..1_000).map(|_| {
        let client = client.clone();
        async move { client.get("/api/health").await.status.as_u16() }
    });
    let statuses: BTreeSet<u16> = futures_util::future::join_all(probes).await.into_iter().collect();
    assert_eq!(statuses, BTreeSet::from([200]));
    let calls = app.upstream.calls();
    assert!(calls.len() <= 2, "{} calls to the provider", calls.len());
    assert!(calls.iter().all(|call| call.path.ends_with("/models")), "{calls:?}");
}

#[tokio::test]
async fn a_provider_is_judged_by_what_its_calls_came_to() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    let ask = json!({"model": "maple-chat", "messages": []});
    for _ in 0..3 {
        app.upstream.reply(Reply::json(500, &json!({})));
        program
            .post("/v1/chat/completions", &ask)
            .await
            .openai_error(502, "provider_error");
    }
    let health = operations(&app).get("/api/health").await.ok(200);
    let provider = &check(&health, "external_services")["components"]["fake"];
    assert_eq!(provider["status"], "warn");
    assert_eq!(provider["detail"], "0 calls succeeded and 3 failed in the last 30 s");
    for _ in 0..4 {
        program.post("/v1/chat/completions", &ask).await.ok(200);
    }
    eventually("health to see better calls", || async {
        let health = operations(&app).get("/api/health").await.ok(200);
        let provider = &check(&health, "external_services")["components"]["fake"];
        (provider["status"] == "pass").then_some(())
    })
    .await;
    // Nobody asked the provider anything but what callers asked.
    assert!(
        app.upstream
            .calls()
            .iter()
            .all(|call| call.path.ends_with("/chat/completions"))
    );
}

/// It is up, and does not do its work.
#[tokio::test]
async fn a_provider_that_has_had_enough_of_us_is_a_warning() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    for _ in 0..3 {
        app.upstream
            .reply(Reply::json(429, &json!({"error": {"message": "slow down"}})));
        let ask = json!({"model": "maple-chat", "messages": []});
        assert_eq!(program.post("/v1/chat/completions", &ask).await.status, 429);
    }
    let health = operations(&app).get("/api/health").await.ok(200);
    let provider = &check(&health, "external_services")["components"]["fake"];
    assert_eq!(provider["status"], "warn");
    assert_eq!(provider["detail"], "0 calls succeeded and 3 failed in the last 30 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_hanging_is_told_in_time_and_liveness_does_not_care() {
    let postgres = Postgres::start().await;
    let app = TestApp::start_on(&postgres.url(), |_| {}).await;
    app.client.get("/api/ready").await.ok(200);
    // The provider takes connections and says nothing.
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    for _ in 0..50 {
        app.upstream.reply(Reply::json(200, &json!({})).gate(&gate));
    }
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    postgres.hang();
    for client in [app.client.clone(), operations(&app)] {
        let asked = Instant::now();
        let answer = client.get("/api/health").await;
        assert!(asked.elapsed() < Duration::from_secs(5), "after {:?}", asked.elapsed());
        assert_eq!(answer.status, 503);
        assert_eq!(check(&answer.json(), "database_connection")["status"], "fail");
        let asked = Instant::now();
        client.get("/api/health?probe=liveness").await.ok(200);
        // Once ready, a dependency's trouble does not take the process out of the load balancer.
        client.get("/api/ready").await.ok(200);
        assert!(asked.elapsed() < Duration::from_secs(1), "after {:?}", asked.elapsed());
    }
    postgres.wake();
    eventually("health to notice", || async {
        (app.client.get("/api/health").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_away_is_a_warning_in_time() {
    let mut redis = Redis::start().await;
    let url = redis.url();
    let app = TestApp::start_with(|config| {
        config.redis.url = Some(url.into());
        config.providers.remove("refusing");
        config.models.retain(|model| model.provider != "refusing");
    })
    .await;
    let seen = |status: &'static str| {
        let app = &app;
        async move {
            eventually("health to notice", || async {
                let asked = Instant::now();
                let health = app.client.get("/api/health").await.ok(200);
                assert!(asked.elapsed() < Duration::from_secs(5), "after {:?}", asked.elapsed());
                (check(&health, "redis_connection")["status"] == status).then_some(health)
            })
            .await
        }
    };
    assert_eq!(seen("pass").await["status"], "pass");
    redis.hang();
    assert_eq!(seen("warn").await["status"], "warn");
    redis.wake();
    seen("pass").await;
    redis.kill();
    assert_eq!(seen("warn").await["status"], "warn");
    redis.bring_back().await;
    seen("pass").await;
}
