//! Registering: what it makes, and what it refuses.

use mapleai::app::migrate::Said;
use serde_json::json;

use crate::support::{
    TestApp,
    accounts::{PASSWORD, Person, fresh_email, register, registration},
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
        "1q2w3e4r5t6y",
        "P@ssw0rd1234",
        "password1password2",
        "Summer2026!!",
        "MapleAI-12345",
        "Difference 1822",
    ] {
        let body =
            json!({"email": "weak@maple.test", "password": weak, "name": "Ada Lovelace", "organization": "Difference"});
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

/// Names of providers, and what they cost, are for people of the house where strangers are none.
#[tokio::test]
async fn where_registration_is_closed_the_models_are_shown_to_people_alone() {
    let open = TestApp::start().await;
    let ada = register(&open).await;
    let shown = open.client.get("/api/models").await;
    assert!(shown.header("cache-control").contains("public"));
    let (database, upstream) = (open.config.database.url.clone(), open.upstream.base_url());
    let closed = TestApp::start_on(secrecy::ExposeSecret::expose_secret(&database), |config| {
        config.auth.open_registration = false;
        config.providers.get_mut("fake").unwrap().base_url = Some(upstream.parse().unwrap());
    })
    .await;
    closed.client.get("/api/models").await.problem(401, "unauthenticated");
    let models = closed.client.with(&ada.access_token).get("/api/models").await;
    assert!(!models.header("cache-control").contains("public"));
    assert_eq!(models.ok(200)["data"][0]["id"], "maple-chat");
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

/// One address for all ways of writing it: mozilla/fxa-auth-server #463, saltcorn #3536.
#[tokio::test]
async fn an_address_is_one_however_it_is_written() {
    let app = TestApp::start().await;
    let try_to = |email: &str| {
        let (client, body) = (app.client.clone(), registration(email));
        async move { client.post("/api/auth/register", &body).await }
    };
    try_to("josé@exämple.de").await.ok(201);
    for same in [
        "jose\u{301}@exämple.de",
        "JOSÉ@EXÄMPLE.DE",
        "ｊｏｓé@exämple.de",
        "josé@xn--exmple-cua.de",
    ] {
        try_to(same).await.problem(409, "email_taken");
        let body = json!({"email": same, "password": PASSWORD});
        app.client.post("/api/auth/login", &body).await.ok(200);
    }
    for hidden in [
        "jos\u{200b}é@exämple.de",
        "\u{202e}josé@exämple.de",
        "josé\u{ad}@exämple.de",
        ".josé@exämple.de",
    ] {
        try_to(hidden).await.problem(422, "invalid_fields");
    }
}

#[tokio::test]
async fn names_are_seen_as_they_are() {
    let app = TestApp::start().await;
    for (field, value) in [
        ("name", "\u{200b}\u{2060}"),
        ("name", "Ada\u{202e}ecaleno"),
        ("organization", "\u{202e}gro.live"),
        ("organization", "Maple\u{ad}"),
    ] {
        let mut body = registration(&fresh_email());
        body[field] = value.into();
        let problem = app
            .client
            .post("/api/auth/register", &body)
            .await
            .problem(422, "invalid_fields");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    let ada = Person::of(
        &app.client,
        &app.client
            .post("/api/auth/register", &registration(&fresh_email()))
            .await
            .ok(201),
    );
    let hidden = json!({"name": "a\u{200b}key"});
    ada.client
        .post("/api/keys", &hidden)
        .await
        .problem(422, "invalid_fields");
    // A title is one's own, and loses what nobody sees.
    let titled = ada
        .client
        .post("/api/conversations", &json!({"title": "\u{202e}My\u{200b} plan"}))
        .await;
    assert_eq!(titled.ok(201)["title"], "My plan");
}

/// Addresses that an earlier release stored are brought into the present form when the database is migrated, except where two
/// accounts would become one.
#[tokio::test]
async fn stored_addresses_are_folded_anew_and_never_merged() {
    let app = TestApp::start().await;
    let mut database = app.database().await;
    let mut stored = Vec::new();
    for (email, folded) in [
        ("zoe\u{308}@exämple.de", "zoe\u{308}@exämple.de"),
        ("José@exämple.de", "josé@xn--exmple-cua.de"),
        ("jose\u{301}@exämple.de", "jose\u{301}@exämple.de"),
    ] {
        let tokens = app
            .client
            .post("/api/auth/register", &registration(&fresh_email()))
            .await
            .ok(201);
        let id = tokens["user"]["id"].as_str().unwrap().to_owned();
        sqlx::query("UPDATE users SET email = $2, email_folded = $3 WHERE id = $1::uuid")
            .bind(&id)
            .bind(email)
            .bind(folded)
            .execute(&mut database)
            .await
            .unwrap();
        stored.push(id);
    }
    // It is found before that as well.
    let login = |email: &str| {
        let (client, body) = (app.client.clone(), json!({"email": email, "password": PASSWORD}));
        async move { client.post("/api/auth/login", &body).await }
    };
    mapleai::app::migrate::apply(app.config.clone(), Said::default())
        .await
        .unwrap();
    let folded = sqlx::query_scalar::<_, String>("SELECT email_folded FROM users ORDER BY id")
        .fetch_all(&mut database)
        .await
        .unwrap();
    assert_eq!(
        folded,
        [
            "zoë@xn--exmple-cua.de",
            "josé@xn--exmple-cua.de",
            "jose\u{301}@exämple.de"
        ]
    );
    for email in ["zoë@exämple.de", "josé@exämple.de"] {
        login(email).await.ok(200);
    }
}
