//! What gives rights, or takes them, asks for the password again after a while.

use http::Method;
use serde_json::json;

use crate::support::{
    Answer, Client, TestApp,
    accounts::{Browser, PASSWORD, fresh_email, join, register},
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
