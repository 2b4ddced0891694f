//! What operators and administrators see of the caches, and do with them.

use reqwest::Method;
use serde_json::{Value, json};

use super::start;
use crate::support::{
    Answer, Client, TestApp,
    accounts::{Browser, join, register},
    app::OPS_TOKEN,
    eventually,
    redis::Redis,
};

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
    // What everybody's requests lean on is nobody's to forget, and nothing is forgotten without end.
    for class in ["api_key", "cookie", "session"] {
        ada.client
            .post("/api/cache/purge", &json!({"class": class}))
            .await
            .problem(422, "invalid_fields");
    }
    let mut purges = 1;
    let throttled = loop {
        let purge = ada.client.post("/api/cache/purge", &json!({})).await;
        purges += 1;
        if purge.status != 204 {
            break purge;
        }
    };
    throttled.problem(429, "throttled");
    assert!(!throttled.header("retry-after").is_empty());
    assert_eq!(purges, 6, "five went through");
    mallory.client.post("/api/cache/purge", &json!({})).await.ok(204);
    assert_eq!(status(&his).await, "miss");
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

/// What one organisation forgets makes nobody else's credentials be looked up anew: the database is not there to ask.
#[tokio::test]
async fn a_purge_leaves_other_organisations_credentials_in_memory() {
    let app = TestApp::start_with(|config| config.auth.lookup_ttl = std::time::Duration::from_secs(5)).await;
    let (ada, mallory) = (register(&app).await, register(&app).await);
    let program = ada.program().await;
    let browser = Browser::sign_in(&app, &ada).await;
    program.get("/v1/models").await.ok(200);
    assert_eq!(browser.get("/settings").await.status, 200);
    for body in [
        json!({}),
        json!({"class": "answer"}),
        json!({"class": "api_key"}),
        json!({"class": "cookie"}),
    ] {
        mallory.client.post("/api/cache/purge", &body).await;
    }
    for table in ["api_keys", "sessions"] {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "ALTER TABLE {table} RENAME TO {table}_away"
        )))
        .execute(&mut app.database().await)
        .await
        .unwrap();
    }
    program.get("/v1/models").await.ok(200);
    let user = Answer::of(
        app.client
            .request(Method::GET, "/api/users/me")
            .header("cookie", &browser.cookie),
    );
    user.await.ok(200);
}
