//! Registering, signing in and out, refreshing, and changing the own account.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    TestApp,
    accounts::{PASSWORD, Person, fresh_email, register, registration},
    eventually,
    postgres::Postgres,
};

#[tokio::test]
async fn registering_creates_an_organisation_with_its_owner() {
    let app = TestApp::start().await;
    let body = app
        .client
        .post("/api/auth/register", &registration("Ada.L@Maple.test"))
        .await
        .ok(201);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 900);
    let user = &body["user"];
    assert_eq!(user["email"], "Ada.L@Maple.test");
    assert_eq!(user["name"], "Ada Lovelace");
    assert_eq!(user["role"], "owner");
    assert_eq!(user["organization"]["name"], "Analytical Engines");
    assert!(chrono::DateTime::parse_from_rfc3339(user["created_at"].as_str().unwrap()).is_ok());

    let ada = Person::of(&app.client, &body);
    assert_eq!(ada.client.get("/api/users/me").await.ok(200), *user);
    let people = ada.client.get("/api/users").await.ok(200);
    assert_eq!(people, json!({"data": [user], "next_cursor": null}));
}

#[tokio::test]
async fn an_address_is_taken_once_whatever_its_case() {
    let app = TestApp::start().await;
    let email = fresh_email();
    app.client
        .post("/api/auth/register", &registration(&email))
        .await
        .ok(201);
    app.client
        .post("/api/auth/register", &registration(&email.to_uppercase()))
        .await
        .problem(409, "email_taken");

    // At once, where only the database can decide.
    let email = fresh_email();
    let body = registration(&email);
    let racers = futures_util::future::join_all((0..4).map(|_| app.client.post("/api/auth/register", &body))).await;
    let mut statuses: Vec<u16> = racers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
}

#[tokio::test]
async fn every_refused_field_is_named() {
    let app = TestApp::start().await;
    let body = json!({"email": "nobody", "password": "short", "name": " ", "organization": ""});
    let problem = app
        .client
        .post("/api/auth/register", &body)
        .await
        .problem(422, "invalid_fields");
    let fields: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields.len(), 4, "{problem}");
    for field in ["email", "password", "name", "organization"] {
        assert!(fields.contains(&field), "{field} is missing in {problem}");
    }
    assert!(
        problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .all(|e| !e["message"].as_str().unwrap().is_empty())
    );
}

#[tokio::test]
async fn weak_passwords_are_refused() {
    let app = TestApp::start().await;
    for weak in [
        "eleven-char",
        "password1234!",
        "aaaaaaaaaaaaaaaa",
        "123456789012",
        "weak@maple.test",
        "ada lovelace1",
    ] {
        let body = json!({"email": "weak@maple.test", "password": weak, "name": "Ada Lovelace", "organization": "X"});
        let problem = app
            .client
            .post("/api/auth/register", &body)
            .await
            .problem(422, "invalid_fields");
        assert_eq!(problem["errors"][0]["field"], "password", "{weak}: {problem}");
        assert!(!problem.to_string().contains(weak), "a password was echoed: {problem}");
    }
    app.client
        .post("/api/auth/register", &registration("weak@maple.test"))
        .await
        .ok(201);
}

#[tokio::test]
async fn registration_can_be_closed() {
    let app = TestApp::start_with(|config| config.auth.open_registration = false).await;
    let refused = app
        .client
        .post("/api/auth/register", &registration(&fresh_email()))
        .await;
    refused.problem(403, "registration_closed");
}

#[tokio::test]
async fn signing_in_takes_the_right_address_and_password() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let login = |email: &str, password: &str| {
        let body = json!({"email": email, "password": password});
        let client = app.client.clone();
        async move { client.post("/api/auth/login", &body).await }
    };
    let body = login(&ada.email.to_uppercase(), PASSWORD).await.ok(200);
    assert_eq!(body["user"]["id"], ada.id.as_str());
    let again = Person::of(&app.client, &body);
    again.client.get("/api/users/me").await.ok(200);
    ada.client.get("/api/users/me").await.ok(200);

    // A wrong password and an unknown address look alike.
    let wrong = login(&ada.email, "not the right one").await;
    let unknown = login("nobody@maple.test", PASSWORD).await;
    let mut problems = [wrong, unknown].map(|answer| answer.problem(401, "invalid_credentials"));
    for problem in &mut problems {
        problem["request_id"] = "".into();
    }
    assert_eq!(problems[0], problems[1]);
}

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

#[tokio::test]
async fn a_refresh_token_is_good_for_one_exchange() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let refresh = |token: &str| {
        let body = json!({"refresh_token": token});
        let client = app.client.clone();
        async move { client.post("/api/auth/refresh", &body).await }
    };
    let body = refresh(&ada.refresh_token).await.ok(200);
    let second = Person::of(&app.client, &body);
    assert_eq!(second.id, ada.id);
    assert_ne!(second.refresh_token, ada.refresh_token);
    second.client.get("/api/users/me").await.ok(200);
    let third = Person::of(&app.client, &refresh(&second.refresh_token).await.ok(200));
    third.client.get("/api/users/me").await.ok(200);

    // The first token again: somebody else has it, so the session ends for both.
    refresh(&ada.refresh_token).await.problem(401, "unauthenticated");
    refresh(&third.refresh_token).await.problem(401, "unauthenticated");
    third.client.get("/api/users/me").await.problem(401, "unauthenticated");

    refresh("mr_junk").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn signing_out_ends_the_session_at_once_here_and_soon_elsewhere() {
    let app = TestApp::start().await;
    let (second, elsewhere) = app.start_second().await;
    let ada = register(&app).await;
    let there = elsewhere.with(&ada.access_token);
    there.get("/api/users/me").await.ok(200);
    let other = app
        .client
        .post("/api/auth/login", &json!({"email": ada.email, "password": PASSWORD}))
        .await
        .ok(200);
    let other = Person::of(&app.client, &other);

    ada.client.post("/api/auth/logout", &json!({})).await.ok(204);
    ada.client.get("/api/users/me").await.problem(401, "unauthenticated");
    let refresh = json!({"refresh_token": ada.refresh_token});
    app.client
        .post("/api/auth/refresh", &refresh)
        .await
        .problem(401, "unauthenticated");
    other.client.get("/api/users/me").await.ok(200);
    refused_within_five_seconds(&there).await;
    second.stop().await;
}

async fn refused_within_five_seconds(client: &crate::support::Client) {
    let refused = async {
        while client.get("/api/users/me").await.status != 401 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), refused)
        .await
        .expect("refused within 5 s");
}

#[tokio::test]
async fn people_change_their_name() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let changed = ada
        .client
        .patch("/api/users/me", &json!({"name": "  Ada King  "}))
        .await
        .ok(200);
    assert_eq!(changed["name"], "Ada King");
    assert_eq!(ada.client.get("/api/users/me").await.ok(200), changed);
    ada.client
        .patch("/api/users/me", &json!({"name": ""}))
        .await
        .problem(422, "invalid_fields");
    assert_eq!(
        ada.client.patch("/api/users/me", &json!({})).await.ok(200)["name"],
        "Ada King"
    );
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_ends_the_other_sessions() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let login = |password: &str| {
        let body = json!({"email": ada.email, "password": password});
        let client = app.client.clone();
        async move { client.post("/api/auth/login", &body).await }
    };
    let other = Person::of(&app.client, &login(PASSWORD).await.ok(200));
    other.client.get("/api/users/me").await.ok(200);

    let new = "another horse, another battery";
    let change = |body| {
        let client = ada.client.clone();
        async move { client.patch("/api/users/me", &body).await }
    };
    change(json!({"password": new})).await.problem(422, "invalid_fields");
    change(json!({"password": new, "current_password": "wrong"}))
        .await
        .problem(403, "wrong_password");
    change(json!({"password": "weak", "current_password": PASSWORD}))
        .await
        .problem(422, "invalid_fields");
    login(PASSWORD).await.ok(200);
    change(json!({"password": new, "current_password": PASSWORD}))
        .await
        .ok(200);

    ada.client.get("/api/users/me").await.ok(200);
    other.client.get("/api/users/me").await.problem(401, "unauthenticated");
    let refresh = json!({"refresh_token": other.refresh_token});
    app.client
        .post("/api/auth/refresh", &refresh)
        .await
        .problem(401, "unauthenticated");
    login(PASSWORD).await.problem(401, "invalid_credentials");
    login(new).await.ok(200);
}

#[tokio::test]
async fn secrets_are_stored_as_digests_only() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let (_, key) = ada.create_key().await;
    let mut database = app.database().await;
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT u::text FROM users u UNION ALL SELECT k::text FROM api_keys k UNION ALL SELECT r::text FROM refresh_tokens r
         UNION ALL SELECT s::text FROM sessions s",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    assert!(rows.len() >= 4, "{rows:?}");
    for secret in [PASSWORD, &key, &ada.refresh_token, &ada.access_token] {
        let hex_of_it = hex::encode(secret);
        assert!(
            rows.iter()
                .all(|row| !row.contains(secret) && !row.contains(&hex_of_it)),
            "stored in the clear"
        );
    }
    let hash: String = sqlx::query_scalar("SELECT password_hash FROM users")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert!(hash.starts_with("$argon2id$"), "{hash}");
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

/// Both or neither: else whoever knew the old password stays signed in.
#[tokio::test]
async fn a_password_is_not_changed_where_the_other_sessions_cannot_be_ended() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let login = |password: &str| {
        let body = json!({"email": ada.email, "password": password});
        let client = app.client.clone();
        async move { client.post("/api/auth/login", &body).await }
    };
    login(PASSWORD).await.ok(200);
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE OF ended_at ON sessions EXECUTE FUNCTION refuse()",
    )
    .execute(&mut app.database().await)
    .await
    .unwrap();
    let new = "another horse, another battery";
    ada.client
        .patch("/api/users/me", &json!({"password": new, "current_password": PASSWORD}))
        .await
        .problem(500, "internal");
    login(new).await.problem(401, "invalid_credentials");
    login(PASSWORD).await.ok(200);
}
