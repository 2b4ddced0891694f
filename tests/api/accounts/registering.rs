//! Registering: what it makes, and what it refuses.

use serde_json::json;

use crate::support::{
    TestApp,
    accounts::{Person, fresh_email, registration},
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
