//! What gives rights, or takes them, asks for the password again after a while.

use http::Method;
use serde_json::json;

use crate::support::{
    Answer, Client, TestApp,
    accounts::{Browser, PASSWORD, Person, fresh_email, join, register, registration},
};

/// As if everybody had signed in an hour ago, and no process remembered anything else.
async fn an_hour_later(app: &TestApp) -> (mapleai::app::Server, Client) {
    sqlx::query("UPDATE sessions SET created_at = created_at - interval '1 hour', confirmed_at = confirmed_at - interval '1 hour'")
        .execute(&mut app.database().await)
        .await
        .unwrap();
    app.start_second().await
}

#[tokio::test]
async fn what_gives_or_takes_rights_asks_for_the_password_again() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    let (key, _) = owner.create_key().await;
    let (server, second) = an_hour_later(&app).await;
    let client = second.with(&owner.access_token);
    let person = format!("/api/users/{}", member.id);
    let others = format!("/api/sessions/{}", uuid::Uuid::now_v7());
    let sensitive = [
        (Method::POST, "/api/keys", json!({"name": "late"}), 201),
        (
            Method::POST,
            "/api/invitations",
            json!({"email": fresh_email(), "role": "member"}),
            201,
        ),
        (Method::PATCH, &*person, json!({"role": "admin"}), 200),
        (Method::PATCH, "/api/organization", json!({"share_answers": true}), 200),
        (Method::DELETE, &*others, json!(null), 404),
        (Method::DELETE, &*person, json!(null), 204),
        (Method::DELETE, "/api/sessions", json!(null), 204),
    ];
    let call = |method: &Method, path: &str, body: &serde_json::Value| {
        let request = client.request(method.clone(), path);
        Answer::of(if body.is_null() { request } else { request.json(body) })
    };
    for (method, path, body, _) in &sensitive {
        call(method, path, body).await.problem(403, "step_up_required");
    }
    assert_eq!(client.get("/api/organization").await.ok(200)["share_answers"], false);
    // Looking, and what makes things safer, does not.
    for path in ["/api/keys", "/api/users", "/api/invitations", "/api/sessions"] {
        client.get(path).await.ok(200);
    }
    client.delete(&format!("/api/keys/{key}")).await.ok(204);
    // Another password does, being given with the old one.
    let password = json!({"password": "walrus lamp orbit 7", "current_password": PASSWORD});
    client.patch("/api/users/me", &password).await.ok(200);

    let confirm = |password: &str| {
        let (client, body) = (client.clone(), json!({"password": password}));
        async move { client.post("/api/auth/confirm", &body).await }
    };
    confirm(PASSWORD).await.problem(403, "wrong_password");
    call(&Method::POST, "/api/keys", &json!({"name": "late"}))
        .await
        .problem(403, "step_up_required");
    confirm("walrus lamp orbit 7").await.ok(204);
    for (method, path, body, status) in &sensitive {
        let answer = call(method, path, body).await;
        assert_eq!(answer.status.as_u16(), *status, "{method} {path}: {}", answer.text());
    }
    server.stop().await;
}

/// Also where the session is remembered as it was before.
#[tokio::test]
async fn a_password_that_another_instance_was_given_is_enough() {
    let app = TestApp::start_with(|config| config.auth.lookup_ttl = std::time::Duration::from_secs(4)).await;
    let owner = register(&app).await;
    let (one, other) = an_hour_later(&app).await;
    let (two, third) = app.start_second().await;
    let body = json!({"name": "late"});
    let client = third.with(&owner.access_token);
    client.post("/api/keys", &body).await.problem(403, "step_up_required");
    let confirmation = json!({"password": PASSWORD});
    let confirming = other.with(&owner.access_token);
    confirming.post("/api/auth/confirm", &confirmation).await.ok(204);
    client.post("/api/keys", &body).await.ok(201);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn the_password_is_guessed_no_faster_by_confirming() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_account = 3).await;
    let ada = register(&app).await;
    for _ in 0..3 {
        let answer = ada
            .client
            .post("/api/auth/confirm", &json!({"password": "wrong"}))
            .await;
        answer.problem(403, "wrong_password");
    }
    let answer = ada
        .client
        .post("/api/auth/confirm", &json!({"password": "wrong"}))
        .await;
    answer.problem(429, "throttled");
}

/// Somebody at a screen that was left alone has one count of guesses, whichever door they try, and however the address is written.
#[tokio::test]
async fn a_guess_at_a_confirmation_is_a_guess_at_a_sign_in() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_account = 3).await;
    let tokens = app
        .client
        .post("/api/auth/register", &registration("JOSÉ@Exämple.DE"))
        .await;
    let jose = Person::of(&app.client, &tokens.ok(201));
    let browser = Browser::sign_in(&app, &jose).await;
    let (server, second) = an_hour_later(&app).await;
    let browser = Browser::with_cookie(&second, browser.cookie).await;
    let client = second.with(&jose.access_token);
    let share = async |password: &str| {
        let fields = [("share", "true"), ("confirm_password", password)];
        browser.submit("/settings/cache/sharing", &fields).await
    };
    let asked = share("wrong").await;
    assert!(
        asked.status == 403 && asked.text().contains("password is wrong"),
        "{}",
        asked.text()
    );
    client
        .post("/api/auth/confirm", &json!({"password": "wrong"}))
        .await
        .problem(403, "wrong_password");
    let written = json!({"email": "jose\u{301}@xn--exmple-cua.de", "password": "wrong"});
    second
        .post("/api/auth/login", &written)
        .await
        .problem(401, "invalid_credentials");
    let refused = share(PASSWORD).await;
    assert_eq!(refused.status, 429);
    assert!(
        refused.text().contains("Try again in"),
        "it says for how long: {}",
        refused.text()
    );
    client
        .post("/api/auth/confirm", &json!({"password": PASSWORD}))
        .await
        .problem(429, "throttled");
    let right = json!({"email": jose.email, "password": PASSWORD});
    second.post("/api/auth/login", &right).await.problem(429, "throttled");
    assert_eq!(client.get("/api/organization").await.ok(200)["share_answers"], false);
    server.stop().await;
}

/// Without a script: the form comes back with a field for the password, and everything that was filled in.
#[tokio::test]
async fn the_page_asks_in_place() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    let browser = Browser::sign_in(&app, &owner).await;
    let (server, second) = an_hour_later(&app).await;
    let browser = Browser::with_cookie(&second, browser.cookie).await;
    let path = format!("/settings/members/{}", member.id);
    let asked = browser.submit(&path, &[("role", "admin")]).await;
    assert_eq!(asked.status, 403, "{}", asked.text());
    let page = asked.text();
    for part in [
        format!("action=\"{path}\""),
        "name=\"role\" value=\"admin\"".to_owned(),
        "name=\"confirm_password\"".to_owned(),
        format!("name=\"csrf_token\" value=\"{}\"", browser.csrf_token),
    ] {
        assert!(page.contains(&part), "{part} is missing in {page}");
    }
    // What lets others see more is asked for as well, and not done before.
    let sharing = browser.submit("/settings/cache/sharing", &[("share", "true")]).await;
    assert_eq!(sharing.status, 403, "{}", sharing.text());
    assert!(sharing.text().contains("name=\"share\" value=\"true\""));
    assert!(browser.get("/settings").await.text().contains("Share answers within"));
    let wrong = browser
        .submit(&path, &[("role", "admin"), ("confirm_password", "wrong")])
        .await;
    assert_eq!(wrong.status, 403);
    assert!(wrong.text().contains("password is wrong"), "{}", wrong.text());
    let done = browser
        .submit(&path, &[("role", "admin"), ("confirm_password", PASSWORD)])
        .await;
    assert_eq!(
        (done.status.as_u16(), done.header("location")),
        (303, "/settings?done=role")
    );
    // It counts for a while.
    let done = browser.submit("/settings/sessions/end-others", &[]).await;
    assert_eq!(done.status, 303, "{}", done.text());
    server.stop().await;
}

/// Each form by itself: a confirmation that one of them got would do for all.
#[tokio::test]
async fn every_form_that_gives_or_takes_rights_asks() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    let browser = Browser::sign_in(&app, &owner).await;
    let (server, second) = an_hour_later(&app).await;
    let browser = Browser::with_cookie(&second, browser.cookie).await;
    let role = format!("/settings/members/{}", member.id);
    let removal = format!("{role}/remove");
    let session = format!("/settings/sessions/{}/end", uuid::Uuid::now_v7());
    let email = fresh_email();
    let forms: [(&str, &[(&str, &str)]); 6] = [
        (&role, &[("role", "admin")]),
        (&removal, &[]),
        ("/settings/invitations", &[("email", &email), ("role", "member")]),
        (&session, &[]),
        ("/settings/sessions/end-others", &[]),
        ("/settings/cache/sharing", &[("share", "true")]),
    ];
    for (path, fields) in forms {
        let asked = browser.submit(path, fields).await;
        assert_eq!(asked.status, 403, "{path}: {}", asked.text());
        assert!(
            asked.text().contains("name=\"confirm_password\""),
            "{path}: {}",
            asked.text()
        );
    }
    let seen = app.client.with(&member.access_token).get("/api/users/me").await.ok(200);
    assert_eq!(seen["role"], "member", "nothing was done");
    server.stop().await;
}
