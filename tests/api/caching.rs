//! The caches of a whole service over one Redis: what two instances share, and what an outage may not change.

mod purges;
mod writes;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    Answer, Client, Reply, TestApp,
    accounts::{Browser, Person, fresh_email, join, register, registration},
    app::OPS_TOKEN,
    database::TestDatabase,
    eventually,
    postgres::Postgres,
    process::Process,
    redis::Redis,
    upstream::completion,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purging_is_for_those_who_may_and_for_what_they_may() {
    let redis = Redis::start().await;
    let app = start(&redis).await;
    let (second, other) = app.start_second().await;
    let (ada, mallory) = (register(&app).await, register(&app).await);
    let (hers, his) = (ada.program().await, mallory.program().await);
    let body = json!({"model": "maple-chat", "seed": 5, "messages": [{"role": "user", "content": "x"}]});
    let status = async |client: &Client| {
        client
            .post("/v1/chat/completions", &body)
            .await
            .header("x-maple-cache")
            .to_owned()
    };
    for client in [&hers, &his] {
        assert_eq!(
            (status(client).await.as_str(), status(client).await.as_str()),
            ("miss", "hit")
        );
    }
    ada.client
        .post("/api/cache/purge", &json!({"class": "answer"}))
        .await
        .ok(204);
    assert_eq!(status(&hers).await, "miss", "forgotten, in Redis too");
    assert_eq!(status(&his).await, "hit", "not another organisation's");
    let refused = ada
        .client
        .post("/api/cache/purge", &json!({"class": "answers"}))
        .await
        .problem(422, "invalid_fields");
    assert!(
        refused["errors"][0]["message"].as_str().unwrap().contains("answer"),
        "{refused}"
    );
    let member = join(&app, &ada, "member").await;
    member
        .client
        .post("/api/cache/purge", &json!({}))
        .await
        .problem(403, "not_allowed");

    // An operator, by the operations listener of the other instance: everybody's.
    let operations = Client::new(second.ops_address().unwrap());
    let purge = json!({"class": "answer"});
    let bare = operations.request(Method::POST, "/cache/purge").json(&purge);
    assert_eq!(Answer::of(bare).await.status, 401);
    let with_token = operations
        .request(Method::POST, "/cache/purge")
        .bearer_auth(OPS_TOKEN)
        .json(&purge);
    Answer::of(with_token).await.ok(204);
    for client in [&hers, &his] {
        eventually("the purge", || async { (status(client).await != "hit").then_some(()) }).await;
    }
    let report: Value = operations.get("/cache").await.ok(200);
    assert_eq!(
        (&report["redis"], &report["hears_others"]),
        (&json!("up"), &json!(true))
    );
    let classes: Vec<_> = report["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| class["class"].clone())
        .collect();
    assert!(
        classes.contains(&json!("session")) && classes.contains(&json!("answer")),
        "{report}"
    );
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_asks_the_running_instance() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    let body = json!({"model": "maple-chat", "seed": 5, "messages": [{"role": "user", "content": "x"}]});
    program.post("/v1/chat/completions", &body).await.ok(200);
    let address = app.server.ops_address().unwrap().to_string();
    let run = async |arguments: &[&str], token: &str| {
        let (arguments, address, token) = (arguments.join(" "), address.clone(), token.to_owned());
        let done = tokio::task::spawn_blocking(move || {
            std::process::Command::new(env!("CARGO_BIN_EXE_mapleai"))
                .args(arguments.split(' '))
                .env("MAPLE__SERVER__OPS_ADDR", address)
                .env("MAPLE__SERVER__OPS_TOKEN", token)
                .output()
                .unwrap()
        });
        let output = done.await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, stats, _) = run(&["cache", "stats", "--json"], OPS_TOKEN).await;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    let class = |name: &str| {
        stats["classes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|class| class["class"] == name)
            .cloned()
    };
    assert_eq!(
        (code, &class("answer").unwrap()["entries"]),
        (Some(0), &json!(1)),
        "{stats}"
    );
    let (code, _, said) = run(&["cache", "purge"], "the-wrong-token-0123456789012345678901").await;
    assert_eq!(code, Some(1));
    assert!(said.contains("401"), "{said}");
    let (code, _, said) = run(&["cache", "purge", "--class", "answers"], OPS_TOKEN).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("must be one of session, cookie"), "{said}");
    let (code, said, _) = run(&["cache", "purge", "--class", "answer"], OPS_TOKEN).await;
    assert_eq!(
        (code, said.as_str()),
        (
            Some(0),
            "Forgotten, by this instance; without Redis no other can be told\n"
        )
    );
    let again = program.post("/v1/chat/completions", &body).await;
    assert_eq!(again.header("x-maple-cache"), "miss");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_sees_what_the_cache_saved_and_can_empty_it() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let program = ada.program().await;
    let body = json!({"model": "maple-chat", "seed": 100, "messages": [{"role": "user", "content": "x"}]});
    for wanted in ["miss", "hit", "hit", "hit"] {
        let answer = program.post("/v1/chat/completions", &body).await;
        assert_eq!(answer.header("x-maple-cache"), wanted);
    }
    eventually("the records", || async {
        let totals = ada.client.get("/api/usage").await.ok(200)["totals"].clone();
        (totals["requests"] == 4).then(|| {
            assert_eq!(totals["cached_requests"], 3);
            // 100 tokens in and 2 out, three times: 0.00027 dollars each.
            assert_eq!(
                (totals["saved_usd"].as_str(), totals["cost_usd"].as_str()),
                (Some("0.00081"), Some("0.00027"))
            );
        })
    })
    .await;
    let browser = Browser::sign_in(&app, &ada).await;
    let page = browser.get("/settings").await.text();
    assert!(page.contains("75 %") && page.contains("$0.00081"), "{page}");
    let emptied = browser.submit("/settings/cache/purge", &[]).await;
    assert_eq!(
        (emptied.status.as_u16(), emptied.header("location")),
        (303, "/settings?done=purged_here")
    );
    let told = browser.get("/settings?done=purged_here").await.text();
    assert!(told.contains("Without Redis others cannot be told"), "{told}");
    assert_eq!(
        program
            .post("/v1/chat/completions", &body)
            .await
            .header("x-maple-cache"),
        "miss"
    );
    let member = join(&app, &ada, "member").await;
    let browser = Browser::sign_in(&app, &member).await;
    assert!(!browser.get("/settings").await.text().contains("Money saved"));
    assert_eq!(browser.submit("/settings/cache/purge", &[]).await.status, 403);
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
    let warnings = process.lines()[before..]
        .iter()
        .filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\""))
        .count();
    assert_eq!(warnings, 1, "{:#?}", &process.lines()[before..]);
}
