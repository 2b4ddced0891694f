//! Whose an address is when an invitation to it is accepted.

use serde_json::{Value, json};

use crate::support::{
    Answer, TestApp,
    accounts::{PASSWORD, Person, fresh_email, register, registration},
};

const HERS: &str = "what the guest has chosen";

async fn invite(app: &TestApp, by: &Person, email: &str) -> Answer {
    let body = json!({"email": email, "role": "admin"});
    let invitation = by.client.post("/api/invitations", &body).await.ok(201);
    let accept = json!({"token": invitation["token"], "name": "Grace", "password": HERS});
    app.client.post("/api/invitations/accept", &accept).await
}

async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    app.client.post("/api/auth/login", &body).await
}

fn organization(tokens: &Value) -> &str {
    tokens["user"]["organization"]["id"].as_str().unwrap()
}

/// Whoever registers writes whatever address they like. It keeps nobody from being invited by it, and being invited takes nothing
/// from whoever registered.
#[tokio::test]
async fn an_invited_person_gets_an_address_that_a_stranger_has_registered_with() {
    let app = TestApp::start().await;
    let (corp, email) = (register(&app).await, fresh_email());
    let squatter = app
        .client
        .post("/api/auth/register", &registration(&email))
        .await
        .ok(201);
    let squatter = Person::of(&app.client, &squatter);
    let joined = invite(&app, &corp, &email).await.ok(201);
    assert_eq!(organization(&joined), corp.organization);

    // Each signs in by the address and their own password, and neither is in the other's place.
    let tokens = login(&app, &email, HERS).await.ok(200);
    assert_eq!(organization(&tokens), corp.organization);
    let tokens = login(&app, &email, PASSWORD).await.ok(200);
    assert_eq!(organization(&tokens), squatter.organization);
    squatter.client.get("/api/users/me").await.ok(200);
    login(&app, &email, "neither of the two")
        .await
        .problem(401, "invalid_credentials");

    // It is taken now: by registering, and by another invitation.
    let again = app.client.post("/api/auth/register", &registration(&email)).await;
    again.problem(409, "email_taken");
    let other = register(&app).await;
    invite(&app, &other, &email).await.problem(409, "email_taken");

    // Removing the holder frees it.
    let id = joined["user"]["id"].as_str().unwrap();
    corp.client.delete(&format!("/api/users/{id}")).await.ok(204);
    login(&app, &email, HERS).await.problem(401, "invalid_credentials");
    login(&app, &email, PASSWORD).await.ok(200);
    invite(&app, &corp, &email).await.ok(201);
}

/// The other way about: an invitation by somebody who is nobody's friend does not get at an account, nor keeps its owner out.
#[tokio::test]
async fn an_invitation_does_not_take_over_an_account() {
    let app = TestApp::start().await;
    let (ada, eve) = (register(&app).await, register(&app).await);
    let taken = invite(&app, &eve, &ada.email).await.ok(201);
    assert_eq!(organization(&taken), eve.organization);
    assert_eq!(
        ada.client.get("/api/users/me").await.ok(200)["organization"]["id"],
        ada.organization.as_str()
    );
    let again = login(&app, &ada.email, PASSWORD).await.ok(200);
    assert_eq!(organization(&again), ada.organization);
    // One that came by invitation has somebody's word for it, and keeps its address.
    let guest = fresh_email();
    invite(&app, &ada, &guest).await.ok(201);
    invite(&app, &eve, &guest).await.problem(409, "email_taken");
}
