//! A new password, and what it puts an end to.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use serde_json::json;

use crate::support::{
    Answer, TestApp,
    accounts::{Browser, PASSWORD, register},
    locks::Uncommitted,
};

const NEW: &str = "another horse, another battery";

/// Whoever knows the old password keeps signing in while it is changed: none of it may last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_ins_that_are_in_flight_do_not_outlive_a_new_password() {
    // Slow enough that there is always one between reading the hash and opening the session.
    let app = TestApp::start_with(|config| config.auth.argon2_memory_kib = 4_096).await;
    for round in 0..3 {
        let ada = register(&app).await;
        let login = json!({"email": ada.email, "password": PASSWORD});
        let (over, given) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut guests = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (client, login) = (app.client.clone(), login.clone());
            let (over, given) = (Arc::clone(&over), Arc::clone(&given));
            guests.spawn(async move {
                // Those that begin afterwards are refused; the last of those that began before is waited for.
                while !over.load(Ordering::Relaxed) {
                    let answer = client.post("/api/auth/login", &login).await;
                    if answer.status == 200 {
                        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
                        given.lock().unwrap().push(token);
                    }
                }
            });
        }
        while given.lock().unwrap().len() < 8 {
            tokio::task::yield_now().await;
        }
        let change = json!({"password": NEW, "current_password": PASSWORD});
        ada.client.patch("/api/users/me", &change).await.ok(200);
        over.store(true, Ordering::Relaxed);
        guests.join_all().await;
        let given = given.lock().unwrap().clone();
        for token in &given {
            let answer = app.client.with(token).get("/api/users/me").await;
            assert_eq!(answer.status, 401, "round {round}: one of {} lives on", given.len());
        }
        ada.client.get("/api/users/me").await.ok(200);
    }
}

/// The same in slow motion: verified against the old password, and waiting for whoever sets the new one.
#[tokio::test]
async fn a_sign_in_that_waits_for_a_new_password_is_refused() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let statement = format!("UPDATE users SET password_hash = 'another' WHERE id = '{}'", ada.id);
    let new = Uncommitted::change(&app, statement).await;
    let (client, login) = (app.client.clone(), json!({"email": ada.email, "password": PASSWORD}));
    let signing_in = tokio::spawn(async move { client.post("/api/auth/login", &login).await });
    new.commit_under(&app).await;
    let answer = signing_in.await.unwrap();
    answer.problem(401, "invalid_credentials");
    let sessions: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions")
        .fetch_one(&mut app.database().await)
        .await
        .unwrap();
    assert_eq!(sessions, 1, "the one that she registered with");
}

#[tokio::test]
async fn one_old_password_is_good_for_one_new_one() {
    let app = TestApp::start_with(|config| config.auth.argon2_memory_kib = 4_096).await;
    let ada = register(&app).await;
    let change = |password: &str| {
        let body = json!({"password": password, "current_password": PASSWORD});
        let client = ada.client.clone();
        async move { client.patch("/api/users/me", &body).await.status.as_u16() }
    };
    let mut statuses: [u16; 4] = tokio::join!(
        change("the first horse of all"),
        change("the second horse of all"),
        change("the third horse of all"),
        change("the fourth horse of all")
    )
    .into();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403, 403, 403]);
}

/// A copied cookie is what a new password is meant to get rid of.
#[tokio::test]
async fn the_browser_that_changes_the_password_gets_another_cookie() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    let fields = [("current_password", PASSWORD), ("password", NEW)];
    let changed = browser.submit("/settings/password", &fields).await;
    assert_eq!(changed.status, 303, "{}", changed.text());
    let renewed = Browser::with_cookie_of(&app.client, &changed).await;
    assert_ne!(renewed.cookie, browser.cookie);
    assert_eq!(renewed.get("/settings").await.status, 200);
    assert_eq!(browser.get("/settings").await.status, 303);
    ada.client.get("/api/users/me").await.problem(401, "unauthenticated");

    // Over the API by a cookie as well, also behind a proxy that asks for a password of its own.
    let body = json!({"password": PASSWORD, "current_password": NEW});
    let changed = Answer::of(
        app.client
            .request(http::Method::PATCH, "/api/users/me")
            .header("cookie", &renewed.cookie)
            .header("x-csrf-token", &renewed.csrf_token)
            .header("authorization", "Basic YTpi")
            .json(&body),
    )
    .await;
    changed.ok(200);
    let again = Browser::with_cookie_of(&app.client, &changed).await;
    assert_eq!(again.get("/settings").await.status, 200);
    assert_eq!(renewed.get("/settings").await.status, 303);
}

#[tokio::test]
async fn keys_are_revoked_with_the_password_where_that_is_asked_for() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let program = ada.program().await;
    let change = |from: &str, to: &str, revoke: bool| {
        let body = json!({"password": to, "current_password": from, "revoke_keys": revoke});
        let client = ada.client.clone();
        async move { client.patch("/api/users/me", &body).await }
    };
    change(PASSWORD, NEW, false).await.ok(200);
    program.get("/v1/models").await.ok(200);
    change(NEW, PASSWORD, true).await.ok(200);
    program.get("/v1/models").await.openai_error(401, "invalid_api_key");
    ada.client
        .patch("/api/users/me", &json!({"revoke_keys": true}))
        .await
        .problem(422, "invalid_fields");
}

/// mattermost/mattermost #36877, synapse #3306: macOS sends letters and accents apart.
#[tokio::test]
async fn a_password_is_one_on_all_keyboards() {
    let app = TestApp::start().await;
    let mut body = crate::support::accounts::registration(&crate::support::accounts::fresh_email());
    body["password"] = "Zu\u{308}rich-O\u{308}l-2024".into();
    let tokens = app.client.post("/api/auth/register", &body).await.ok(201);
    let login = |password: &str| {
        let body = json!({"email": tokens["user"]["email"], "password": password});
        let client = app.client.clone();
        async move { client.post("/api/auth/login", &body).await }
    };
    login("Zürich-Öl-2024").await.ok(200);
    login("Zu\u{308}rich-O\u{308}l-2024").await.ok(200);
    login("Zurich-Ol-2024").await.problem(401, "invalid_credentials");
}

/// A hash of a release that took passwords as they were typed, and one that was cheaper.
#[tokio::test]
async fn an_old_hash_is_replaced_at_the_next_sign_in() {
    let app = TestApp::start_with(|config| config.auth.argon2_iterations = 2).await;
    let ada = register(&app).await;
    let typed = "Zu\u{308}rich-O\u{308}l-2024";
    let cheap = argon2::Argon2::new(
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        argon2::Params::new(64, 1, 1, None).unwrap(),
    );
    let composed = "Zürich-Öl-2024";
    let login = |password: &str| {
        let body = json!({"email": ada.email, "password": password});
        let client = app.client.clone();
        async move { client.post("/api/auth/login", &body).await }
    };
    for hashed in [typed, composed] {
        let old = argon2::password_hash::PasswordHasher::hash_password(&cheap, hashed.as_bytes())
            .unwrap()
            .to_string();
        let mut database = app.database().await;
        sqlx::query("UPDATE users SET password_hash = $1")
            .bind(&old)
            .execute(&mut database)
            .await
            .unwrap();
        if hashed == typed {
            login(composed).await.problem(401, "invalid_credentials");
        }
        login(typed).await.ok(200);
        let new: String = sqlx::query_scalar("SELECT password_hash FROM users")
            .fetch_one(&mut database)
            .await
            .unwrap();
        assert!(new.contains(",t=2,") && new != old, "{hashed}: {new}");
        login(composed).await.ok(200);
        login(typed).await.ok(200);
    }
}
