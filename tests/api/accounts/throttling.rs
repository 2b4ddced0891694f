//! Guessing and registering are slowed down, for those who do it and nobody else.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    TestApp,
    accounts::{PASSWORD, register, registration},
    eventually,
    postgres::Postgres,
};

#[tokio::test]
async fn sign_in_is_throttled_per_account() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_account = 3).await;
    let (ada, eve) = (register(&app).await, register(&app).await);
    let wrong = json!({"email": ada.email, "password": "not the right one"});
    for _ in 0..3 {
        app.client
            .post("/api/auth/login", &wrong)
            .await
            .problem(401, "invalid_credentials");
    }
    let right = json!({"email": ada.email, "password": PASSWORD});
    let throttled = app.client.post("/api/auth/login", &right).await;
    throttled.problem(429, "throttled");
    let seconds: u64 = throttled.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    // Others are not locked out with her.
    app.client
        .post("/api/auth/login", &json!({"email": eve.email, "password": PASSWORD}))
        .await
        .ok(200);
}

#[tokio::test]
async fn sign_in_is_throttled_per_address() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_address = 3).await;
    for guess in 0..3 {
        let body = json!({"email": format!("guess-{guess}@maple.test"), "password": PASSWORD});
        app.client
            .post("/api/auth/login", &body)
            .await
            .problem(401, "invalid_credentials");
    }
    let body = json!({"email": "guess-4@maple.test", "password": PASSWORD});
    let throttled = app.client.post("/api/auth/login", &body).await;
    throttled.problem(429, "throttled");
    assert!(!throttled.header("retry-after").is_empty());
}

/// The failures of ours are not the guesses of theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_uses_up_no_attempts() {
    let mut postgres = Postgres::start().await;
    let app = TestApp::start_on(&postgres.url(), |config| {
        config.auth.throttle_per_account = 2;
        config.database.acquire_timeout = Duration::from_millis(200);
    })
    .await;
    let ada = register(&app).await;
    let right = json!({"email": ada.email, "password": PASSWORD});
    postgres.kill();
    for _ in 0..4 {
        app.client
            .post("/api/auth/login", &right)
            .await
            .problem(503, "database_unavailable");
    }
    postgres.bring_back().await;
    let answer = eventually("the database", || async {
        let answer = app.client.post("/api/auth/login", &right).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    answer.ok(200);
}

#[tokio::test]
async fn registering_is_throttled_per_address_and_keeps_nobody_from_signing_in() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_address = 3).await;
    let ada = register(&app).await;
    for _ in 0..2 {
        // One that comes to nothing costs as much.
        app.client
            .post("/api/auth/register", &registration(&ada.email))
            .await
            .problem(409, "email_taken");
    }
    let throttled = app
        .client
        .post("/api/auth/register", &registration("new@maple.test"))
        .await;
    throttled.problem(429, "throttled");
    assert!(!throttled.header("retry-after").is_empty());
    let right = json!({"email": ada.email, "password": PASSWORD});
    app.client.post("/api/auth/login", &right).await.ok(200);
}

/// Whoever has got hold of a session must not find out the password with it.
#[tokio::test]
async fn the_current_password_is_guessed_no_faster_than_by_signing_in() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_account = 3).await;
    let ada = register(&app).await;
    let change = |current: &str| {
        let body = json!({"password": "another horse, another battery", "current_password": current});
        let client = ada.client.clone();
        async move { client.patch("/api/users/me", &body).await }
    };
    for _ in 0..3 {
        change("wrong").await.problem(403, "wrong_password");
    }
    change(PASSWORD).await.problem(429, "throttled");
    let right = json!({"email": ada.email, "password": PASSWORD});
    app.client
        .post("/api/auth/login", &right)
        .await
        .problem(429, "throttled");
}
