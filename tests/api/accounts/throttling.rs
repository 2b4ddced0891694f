//! Guessing and registering are slowed down, for those who do it and nobody else.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{
    Answer, TestApp,
    accounts::{PASSWORD, register, registration},
    eventually,
    postgres::Postgres,
    redis::Redis,
};

#[tokio::test]
async fn sign_in_is_throttled_per_account_and_network() {
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

/// OxiCloud #323, ezauth #196: anybody could lock a known colleague out.
#[tokio::test]
async fn the_right_password_is_good_whatever_others_guess() {
    let app = TestApp::start_with(|config| {
        config.auth.throttle_per_account = 3;
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let ada = register(&app).await;
    let sign_in = |from: &str, password: &str| {
        let body = json!({"email": ada.email, "password": password});
        let request = app
            .client
            .request(Method::POST, "/api/auth/login")
            .header("x-forwarded-for", from)
            .json(&body);
        Answer::of(request)
    };
    for _ in 0..3 {
        sign_in("203.0.113.7:51234", "not the right one")
            .await
            .problem(401, "invalid_credentials");
    }
    let throttled = sign_in("203.0.113.7:51235", "not the right one").await;
    throttled.problem(429, "throttled");
    assert!(!throttled.header("retry-after").is_empty());
    for elsewhere in [
        "203.0.113.8:4711",
        "[2001:db8::1]:443",
        "\"203.0.113.10:80\"",
        "203.0.113.11, ",
    ] {
        sign_in(elsewhere, PASSWORD).await.ok(200);
    }
}

/// A browser that has signed in before is not counted with the others of its network.
#[tokio::test]
async fn a_known_browser_signs_in_while_its_network_has_to_wait() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_account = 3).await;
    let ada = register(&app).await;
    let sign_in = |password: &'static str, cookie: String| {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("email", &*ada.email), ("password", password)])
            .finish();
        Answer::of(
            app.client
                .request(Method::POST, "/sign-in")
                .header("content-type", "application/x-www-form-urlencoded")
                .header("cookie", cookie)
                .body(form),
        )
    };
    let first = sign_in(PASSWORD, String::new()).await;
    assert_eq!(first.status, 303);
    let device = first
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|value| value.to_str().ok()?.split(';').next())
        .find(|cookie| cookie.contains("maple_device="))
        .unwrap()
        .to_owned();
    while sign_in("not the right one", String::new()).await.status == 401 {}
    assert_eq!(sign_in(PASSWORD, String::new()).await.status, 429);
    assert_eq!(sign_in(PASSWORD, device.clone()).await.status, 303);
    let planted = format!("maple_device={}", "A".repeat(96));
    assert_eq!(sign_in(PASSWORD, planted).await.status, 429);
    // It is of no use for another account.
    let eve = register(&app).await;
    let wrong = json!({"email": eve.email, "password": "not the right one"});
    while app.client.post("/api/auth/login", &wrong).await.status == 401 {}
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("email", &*eve.email), ("password", PASSWORD)])
        .finish();
    let request = app
        .client
        .request(Method::POST, "/sign-in")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("cookie", device)
        .body(form);
    assert_eq!(Answer::of(request).await.status, 429);
}

/// Accounts may share an address: one that was registered by anybody, and that of whoever was invited by it.
#[tokio::test]
async fn a_browser_of_one_account_is_unknown_to_another_of_the_same_address() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_account = 3).await;
    let eve = register(&app).await;
    let owner = register(&app).await;
    let invited = json!({"email": eve.email, "role": "member"});
    let invitation = owner.client.post("/api/invitations", &invited).await.ok(201);
    let accept = json!({"token": invitation["token"], "name": "Ada", "password": "another battery staple"});
    app.client.post("/api/invitations/accept", &accept).await.ok(201);
    let sign_in = |password: &'static str, cookie: String| {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("email", &*eve.email), ("password", password)])
            .finish();
        Answer::of(
            app.client
                .request(Method::POST, "/sign-in")
                .header("content-type", "application/x-www-form-urlencoded")
                .header("cookie", cookie)
                .body(form),
        )
    };
    let device = sign_in(PASSWORD, String::new())
        .await
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|value| value.to_str().ok()?.split(';').next())
        .find(|cookie| cookie.contains("maple_device="))
        .unwrap()
        .to_owned();
    // Both are entered by it for as long as nobody guesses.
    assert_eq!(sign_in("another battery staple", device.clone()).await.status, 303);
    while sign_in("not the right one", String::new()).await.status == 401 {}
    assert_eq!(sign_in(PASSWORD, device.clone()).await.status, 303);
    assert_eq!(sign_in("another battery staple", device).await.status, 429);
}

/// Two instances are one service: what is guessed at one is counted at the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_count_together_by_redis_and_by_themselves_without() {
    let mut redis = Redis::start().await;
    let app = TestApp::start_with(|config| {
        config.auth.throttle_per_account = 4;
        config.redis.url = Some(redis.url().into());
    })
    .await;
    let (_second, other) = app.start_second().await;
    let ada = register(&app).await;
    let wrong = json!({"email": ada.email, "password": "not the right one"});
    for client in [&app.client, &other, &app.client, &other] {
        client
            .post("/api/auth/login", &wrong)
            .await
            .problem(401, "invalid_credentials");
    }
    for client in [&app.client, &other] {
        client.post("/api/auth/login", &wrong).await.problem(429, "throttled");
    }
    let named = redis.run(&["KEYS", "*attempts"]);
    assert!(!named.contains(&*ada.email), "{named}");
    for name in named.split_whitespace() {
        let left: i64 = redis.run(&["PTTL", name]).parse().unwrap();
        assert!(left > 0, "{name} would stay for ever");
    }
    redis.kill();
    let eve = register(&app).await;
    let wrong = json!({"email": eve.email, "password": "not the right one"});
    for _ in 0..4 {
        app.client
            .post("/api/auth/login", &wrong)
            .await
            .problem(401, "invalid_credentials");
    }
    app.client
        .post("/api/auth/login", &wrong)
        .await
        .problem(429, "throttled");
    other
        .post("/api/auth/login", &wrong)
        .await
        .problem(401, "invalid_credentials");
}

/// Good sign-ins take a hash each, too.
#[tokio::test]
async fn good_sign_ins_are_bounded_by_network() {
    let app = TestApp::start_with(|config| config.auth.throttle_sign_ins = 3).await;
    let ada = register(&app).await;
    let right = json!({"email": ada.email, "password": PASSWORD});
    for _ in 0..3 {
        app.client.post("/api/auth/login", &right).await.ok(200);
    }
    let throttled = app.client.post("/api/auth/login", &right).await;
    throttled.problem(429, "throttled");
    assert!(!throttled.header("retry-after").is_empty());
}
