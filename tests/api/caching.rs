//! The caches of a whole service over one Redis: what two instances share, and what an outage may not change.

mod answers;
mod operation;
mod purges;
mod revocation;
mod writes;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, Client, TestApp,
    accounts::{Browser, Person, fresh_email, register, registration},
    database::TestDatabase,
    postgres::Postgres,
    process::Process,
    redis::Redis,
};

/// Contractual: until what one instance ends is over for the others.
const WITH_REDIS: Duration = Duration::from_secs(1);
const WITHOUT_REDIS: Duration = Duration::from_secs(5);

async fn start(redis: &Redis) -> TestApp {
    let url = redis.url();
    TestApp::start_with(|config| {
        config.redis.url = Some(url.into());
        // What holds in production.
        config.auth.lookup_ttl = Duration::from_secs(4);
    })
    .await
}

/// A session, a page's cookie and a key, all known to the other instance.
async fn known_to(app: &TestApp, other: &Client) -> (Person, Browser, String, String) {
    let ada = register(app).await;
    let browser = Browser::sign_in(app, &ada).await;
    let made = ada.client.post("/api/keys", &json!({"name": "k"})).await.ok(201);
    let (id, key) = (
        made["id"].as_str().unwrap().to_owned(),
        made["key"].as_str().unwrap().to_owned(),
    );
    me(other, &ada).await.ok(200);
    assert_eq!(page(other, &browser).await.status, 200);
    models(other, &key).await.ok(200);
    (ada, browser, id, key)
}

async fn me(client: &Client, person: &Person) -> Answer {
    Answer::of(
        client
            .request(Method::GET, "/api/users/me")
            .bearer_auth(&person.access_token),
    )
    .await
}

async fn page(client: &Client, browser: &Browser) -> Answer {
    Answer::of(client.request(Method::GET, "/keys").header("cookie", &browser.cookie)).await
}

async fn models(client: &Client, key: &str) -> Answer {
    Answer::of(client.request(Method::GET, "/v1/models").bearer_auth(key)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_name_and_a_conversation_show_in_other_instances() {
    let redis = Redis::start().await;
    let app = start(&redis).await;
    let (_second, other) = app.start_second().await;
    let (ada, _, _, _) = known_to(&app, &other).await;
    ada.client
        .patch("/api/users/me", &json!({"name": "Augusta"}))
        .await
        .ok(200);
    let changed = Instant::now();
    while me(&other, &ada).await.ok(200)["name"] != "Augusta" {
        assert!(changed.elapsed() < WITH_REDIS, "{:?}", changed.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A new conversation is in the list at once, here and there.
    for client in [&app.client, &other] {
        let list = |client: &Client| {
            client
                .request(Method::GET, "/api/conversations")
                .bearer_auth(&ada.access_token)
        };
        let before = Answer::of(list(client)).await.ok(200)["data"].as_array().unwrap().len();
        ada.client.post("/api/conversations", &json!({})).await.ok(201);
        assert_eq!(
            Answer::of(list(&app.client)).await.ok(200)["data"]
                .as_array()
                .unwrap()
                .len(),
            before + 1
        );
        let made = Instant::now();
        while Answer::of(list(&other)).await.ok(200)["data"].as_array().unwrap().len() == before {
            assert!(made.elapsed() < WITH_REDIS);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_and_keys_are_known_without_the_database_for_longer_than_an_instance_alone_would() {
    let redis = Redis::start().await;
    let mut postgres = Postgres::start().await;
    let url = redis.url();
    let app = TestApp::start_on(&postgres.url(), |config| {
        config.redis.url = Some(url.into());
        config.auth.lookup_ttl = Duration::from_secs(1);
    })
    .await;
    let ada = register(&app).await;
    let program = ada.program().await;
    ada.client.get("/api/users/me").await.ok(200);
    program.get("/v1/models").await.ok(200);
    postgres.kill();
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        program.get("/v1/models").await.ok(200);
        ada.client.get("/api/users/me").await.ok(200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What is not remembered is refused as ever.
    ada.client.get("/api/keys").await.problem(503, "database_unavailable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_redis_is_told_once_and_its_end_once() {
    let redis = Redis::start().await;
    let database = TestDatabase::create().await;
    let process = Process::start(&[("DATABASE_URL", &database.url), ("REDIS_URL", &redis.url())]);
    let (client, _) = process.ready().await;
    let tokens = client
        .post("/api/auth/register", &registration(&fresh_email()))
        .await
        .ok(201);
    let program = Person::of(&client, &tokens).program().await;
    let before = process.lines().len();
    redis.hang();
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(2) {
        let text = format!("{:?}", asked.elapsed());
        let body = json!({"model": "maple-dev-embed", "input": text});
        program.post("/v1/embeddings", &body).await.ok(200);
    }
    process
        .line_after(before, "Redis, or a part of it, does not answer; going on without")
        .await;
    redis.wake();
    process.line_after(before, "Redis answers again").await;
    // Beside the outage itself, why a new connection cannot be made is told once as well.
    let mut warnings: Vec<_> = process.lines()[before..]
        .iter()
        .filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\""))
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["message"].clone(), line["error"].clone()))
        .collect();
    warnings.retain(|(message, _)| message != "no connection to Redis");
    assert_eq!(warnings.len(), 1, "{:#?}", &process.lines()[before..]);
    let reasons = || {
        process.lines()[before..]
            .iter()
            .filter(|line| line.contains("no connection to Redis"))
            .count()
    };
    assert!(reasons() <= 1, "{:#?}", &process.lines()[before..]);
}
