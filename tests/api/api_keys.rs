//! Credentials of programs.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::support::{
    Client, TestApp,
    accounts::{join, register},
    eventually,
};

#[tokio::test]
async fn a_key_is_shown_once_and_opens_the_openai_api() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let created = ada
        .client
        .post("/api/keys", &json!({"name": "nightly job"}))
        .await
        .ok(201);
    let key = created["key"].as_str().unwrap();
    // 256 bits in base64url, after the prefix that secret scanners look for.
    assert!(key.starts_with("mk_") && key.len() >= 3 + 43, "{key}");
    assert!(key.starts_with(created["prefix"].as_str().unwrap()) && created["prefix"].as_str().unwrap().len() < 12);
    assert_eq!(created["name"], "nightly job");
    assert_eq!(created["expires_at"], json!(null));
    assert_eq!(created["last_used_at"], json!(null));

    let listed = ada.client.get("/api/keys").await.ok(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!(listed["data"][0]["id"], created["id"]);
    assert!(
        !listed.to_string().contains(key) && listed["data"][0].get("key").is_none(),
        "{listed}"
    );

    let program = app.client.with(key);
    assert_eq!(program.get("/v1/models").await.ok(200)["object"], "list");
    let body = json!({"model": "maple-chat", "messages": [{"role": "user", "content": "Hi"}]});
    program.post("/v1/chat/completions", &body).await.ok(200);
    // An access token does as well.
    ada.client.get("/v1/models").await.ok(200);
}

#[tokio::test]
async fn a_key_is_refused_outside_the_openai_api() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let program = ada.program().await;
    for path in ["/api/users/me", "/api/keys", "/api/usage", "/api/conversations"] {
        program.get(path).await.problem(401, "key_not_allowed");
    }
    program
        .post("/api/keys", &json!({"name": "another"}))
        .await
        .problem(401, "key_not_allowed");
}

#[tokio::test]
async fn keys_that_are_not_ours_are_refused() {
    let app = TestApp::start().await;
    let (_, key) = register(&app).await.create_key().await;
    let mut almost = key.clone();
    let last = if almost.ends_with('A') { 'B' } else { 'A' };
    almost.replace_range(almost.len() - 2..almost.len() - 1, &last.to_string());
    for bad in [
        almost.as_str(),
        "mk_",
        "mk_short",
        &format!("{key}x"),
        &key.to_uppercase(),
    ] {
        let error = app
            .client
            .with(bad)
            .get("/v1/models")
            .await
            .openai_error(401, "invalid_api_key");
        assert_eq!(error["type"], "invalid_request_error");
    }
    app.client.with(&key).get("/v1/models").await.ok(200);
}

#[tokio::test]
async fn a_revoked_key_is_refused_here_at_once_and_elsewhere_within_five_seconds() {
    let app = TestApp::start().await;
    let (second, elsewhere) = app.start_second().await;
    let ada = register(&app).await;
    let (id, key) = ada.create_key().await;
    let (_, kept) = ada.create_key().await;
    let (here, there) = (app.client.with(&key), elsewhere.with(&key));
    here.get("/v1/models").await.ok(200);
    there.get("/v1/models").await.ok(200);

    ada.client.delete(&format!("/api/keys/{id}")).await.ok(204);
    here.get("/v1/models").await.openai_error(401, "invalid_api_key");
    tokio::time::timeout(Duration::from_secs(5), until_refused(&there))
        .await
        .expect("refused within 5 s");
    ada.client
        .delete(&format!("/api/keys/{id}"))
        .await
        .problem(404, "not_found");
    app.client.with(&kept).get("/v1/models").await.ok(200);
    assert_eq!(
        ada.client.get("/api/keys").await.ok(200)["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    second.stop().await;
}

async fn until_refused(client: &Client) {
    while client.get("/v1/models").await.status != 401 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_key_ends_when_it_expires() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let create = |expires_at: DateTime<Utc>| {
        let (client, body) = (ada.client.clone(), json!({"name": "short", "expires_at": expires_at}));
        async move { client.post("/api/keys", &body).await }
    };
    let problem = create(Utc::now() - TimeDelta::seconds(1))
        .await
        .problem(422, "invalid_fields");
    assert_eq!(problem["errors"][0]["field"], "expires_at");
    create(Utc::now() + TimeDelta::days(100_000))
        .await
        .problem(422, "invalid_fields");

    let expires_at = Utc::now() + TimeDelta::seconds(2);
    let created = create(expires_at).await.ok(201);
    let program = app.client.with(created["key"].as_str().unwrap());
    program.get("/v1/models").await.ok(200);
    tokio::time::sleep((expires_at - Utc::now()).to_std().unwrap_or_default() + Duration::from_millis(20)).await;
    // Remembered look-ups do not outlive the key.
    program.get("/v1/models").await.openai_error(401, "invalid_api_key");
}

#[tokio::test]
async fn the_last_use_is_noted() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let before = Utc::now();
    let (_, key) = ada.create_key().await;
    app.client.with(&key).get("/v1/models").await.ok(200);
    let noted = eventually("the note of a key's last use", || async {
        let listed = ada.client.get("/api/keys").await.ok(200);
        listed["data"][0]["last_used_at"]
            .as_str()
            .map(|at| at.parse::<DateTime<Utc>>().unwrap())
    })
    .await;
    assert!(
        noted >= before - TimeDelta::seconds(1) && noted <= Utc::now(),
        "{noted}"
    );
}

#[tokio::test]
async fn members_see_and_revoke_their_own_keys_and_admins_all() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    let (owners, _) = owner.create_key().await;
    let (members, _) = member.create_key().await;
    let ids = |listed: serde_json::Value| -> Vec<String> {
        listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(member.client.get("/api/keys").await.ok(200)), [members.as_str()]);
    assert_eq!(
        ids(owner.client.get("/api/keys").await.ok(200)),
        [members.clone(), owners.clone()]
    );
    member
        .client
        .delete(&format!("/api/keys/{owners}"))
        .await
        .problem(404, "not_found");
    owner.client.delete(&format!("/api/keys/{members}")).await.ok(204);
}

#[tokio::test]
async fn lists_are_paged_by_key() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(ada.create_key().await.0);
    }
    made.reverse();
    let mut seen = Vec::new();
    let mut path = "/api/keys?limit=2".to_owned();
    for pages in 1.. {
        let page = ada.client.get(&path).await.ok(200);
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= 2);
        seen.extend(rows.iter().map(|key| key["id"].as_str().unwrap().to_owned()));
        // A key made in the meantime does not shift the pages.
        ada.create_key().await;
        if let Some(cursor) = page["next_cursor"].as_str() {
            path = format!("/api/keys?limit=2&cursor={cursor}");
        } else {
            assert_eq!(pages, 3);
            break;
        }
    }
    assert_eq!(seen, made);
}

/// Keys that somebody makes up, each another one.
fn made_up(number: u32) -> String {
    format!("mk_{number:0>43}")
}

#[tokio::test]
async fn made_up_keys_are_looked_for_only_so_often() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_address = 5).await;
    let ada = register(&app).await;
    let (program, quiet) = (ada.program().await, ada.program().await);
    program.get("/v1/models").await.ok(200);
    for number in 0..5 {
        app.client
            .with(&made_up(number))
            .get("/v1/models")
            .await
            .openai_error(401, "invalid_api_key");
    }
    // From here on the database hears of none of them.
    sqlx::query("ALTER TABLE api_keys RENAME TO api_keys_away")
        .execute(&mut app.database().await)
        .await
        .unwrap();
    for number in 5..10 {
        let refused = app.client.with(&made_up(number)).get("/v1/models").await;
        refused.openai_error(429, "throttled");
        assert!(!refused.header("retry-after").is_empty());
    }
    // A key that is known is good from the same address, as for an office that shares one.
    program.get("/v1/models").await.ok(200);
    quiet.get("/v1/models").await.openai_error(429, "throttled");
}

#[tokio::test]
async fn the_same_wrong_key_again_and_again_is_told_so() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_address = 5).await;
    for _ in 0..12 {
        app.client
            .with(&made_up(0))
            .get("/v1/models")
            .await
            .openai_error(401, "invalid_api_key");
    }
}

#[tokio::test]
async fn keys_say_who_made_them() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    let made = member.client.post("/api/keys", &json!({"name": "mine"})).await.ok(201);
    assert_eq!(made["made_by"], json!({"id": member.id, "name": "Grace Hopper"}));
    let listed = owner.client.get("/api/keys").await.ok(200);
    assert_eq!(listed["data"][0]["made_by"], made["made_by"]);
}
