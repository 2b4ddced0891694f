//! Registering, signing in and out, refreshing, and changing the own account.

mod confirming;
mod cookies;
mod logged;
mod passwords;
mod refreshing;
mod registering;
mod throttling;

use serde_json::json;

use crate::support::{
    TestApp,
    accounts::{PASSWORD, Person, register},
};

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
         CREATE TRIGGER refuse BEFORE UPDATE OF ended_at ON sessions FOR EACH ROW EXECUTE FUNCTION refuse()",
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
