//! Credentials of programs.

mod suspects;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::json;

use crate::support::{
    Answer, Client, TestApp,
    accounts::{join, register},
    app::OPS_TOKEN,
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
    let place = almost.len() - 2..almost.len() - 1;
    let other = if &almost[place.clone()] == "A" { "B" } else { "A" };
    almost.replace_range(place, other);
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

/// Whoever shares an address with somebody who makes keys up is not refused for it, whether or not the key is in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_key_never_depends_on_its_address() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_address = 5).await;
    let ada = register(&app).await;
    let (program, quiet) = (ada.program().await, ada.program().await);
    program.get("/v1/models").await.ok(200);
    for number in 0..20 {
        app.client
            .with(&made_up(number))
            .get("/v1/models")
            .await
            .openai_error(401, "invalid_api_key");
    }
    program.get("/v1/models").await.ok(200);
    quiet.get("/v1/models").await.ok(200);
    // Nor after everything has been forgotten, and while others go on making keys up.
    let stop = Arc::new(AtomicBool::new(false));
    let flood = (0..8_u32).map(|flooder| {
        let (client, stop) = (app.client.clone(), Arc::clone(&stop));
        async move {
            let mut number = 1_000 * (flooder + 1);
            while !stop.load(Ordering::Relaxed) {
                let answer = client.with(&made_up(number)).get("/v1/models").await;
                assert!([401, 503].contains(&answer.status.as_u16()), "{}", answer.text());
                number += 1;
            }
        }
    });
    let flood = futures_util::future::join_all(flood);
    let good = async {
        let operations = Client::new(app.server.ops_address().unwrap());
        for _ in 0..3 {
            let purge = operations
                .request(Method::POST, "/cache/purge")
                .bearer_auth(OPS_TOKEN)
                .json(&json!({"class": "api_key"}));
            Answer::of(purge).await.ok(200);
            program.get("/v1/models").await.ok(200);
            quiet.get("/v1/models").await.ok(200);
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(flood, good);
}

/// Keys say by themselves whether somebody has mistyped or made them up.
#[tokio::test]
async fn a_mistyped_key_is_told_without_a_look_up() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let (_, key) = ada.create_key().await;
    assert_eq!(key.len(), 46, "{key}");
    app.client.with(&key).get("/v1/models").await.ok(200);
    sqlx::query("ALTER TABLE api_keys RENAME TO api_keys_away")
        .execute(&mut app.database().await)
        .await
        .unwrap();
    let mut mistyped = key.into_bytes();
    mistyped[10] = if mistyped[10] == b'A' { b'B' } else { b'A' };
    let mistyped = String::from_utf8(mistyped).unwrap();
    let refused = app.client.with(&mistyped).get("/v1/models").await;
    refused.openai_error(401, "invalid_api_key");
}

/// Those that were given out before keys had a checksum.
#[tokio::test]
async fn keys_without_a_checksum_stay_good() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let (id, _) = ada.create_key().await;
    let old = made_up(7);
    sqlx::query("UPDATE api_keys SET digest = $1 WHERE id = $2::text::uuid")
        .bind(crypto::secret::sha256(old.as_bytes()).as_slice())
        .bind(&id)
        .execute(&mut app.database().await)
        .await
        .unwrap();
    app.client.with(&old).get("/v1/models").await.ok(200);
}

/// One limiter for everything that can be made up: cookies, refresh tokens and invitations as well as keys.
#[tokio::test]
async fn made_up_credentials_of_all_kinds_are_counted_together() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_address = 4).await;
    let ada = register(&app).await;
    let junk = |prefix: &str, number: u32| format!("{prefix}{number:0>43}");
    app.client
        .with(&junk("mk_", 1))
        .get("/v1/models")
        .await
        .openai_error(401, "invalid_api_key");
    let cookie = format!("maple_session={}", junk("ms_", 2));
    let page = Answer::of(app.client.request(Method::GET, "/settings").header("cookie", cookie)).await;
    assert_eq!(page.status, 303);
    let refresh = json!({"refresh_token": junk("mr_", 3)});
    app.client
        .post("/api/auth/refresh", &refresh)
        .await
        .problem(401, "unauthenticated");
    assert_eq!(app.client.get(&format!("/invite/{}", junk("mi_", 4))).await.status, 404);
    // From now on one is looked for at a time. Whatever is good is found.
    let looks = (10..20).map(|number| {
        let client = app.client.with(&junk("mk_", number));
        async move { client.get("/v1/models").await.openai_error(401, "invalid_api_key") }
    });
    futures_util::future::join_all(looks).await;
    let refreshed = json!({"refresh_token": ada.refresh_token});
    app.client.post("/api/auth/refresh", &refreshed).await.ok(200);
    ada.program().await.get("/v1/models").await.ok(200);
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
