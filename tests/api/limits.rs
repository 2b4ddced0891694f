//! What one person and one organisation may have, and no more.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{
    Answer, TestApp,
    accounts::{PASSWORD, Person, fresh_email, join, register},
    locks::Uncommitted,
};

async fn start() -> TestApp {
    TestApp::start_with(|config| {
        config.limits.keys_per_person = 3;
        config.limits.keys_per_organization = 4;
        config.limits.invitations_per_person = 3;
        config.limits.invitations_per_organization = 4;
        config.limits.invitations_per_address = 2;
        config.limits.conversations_per_person = 3;
        config.limits.sessions_per_person = 3;
    })
    .await
}

/// The statuses of many at once, sorted.
async fn at_once<F: Future<Output = Answer>>(requests: impl IntoIterator<Item = F>) -> Vec<u16> {
    let answers = join_all(requests).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    statuses
}

fn told(answer: &Answer, number: &str) {
    let problem = answer.problem(409, "limit_reached");
    assert!(problem["detail"].as_str().unwrap().contains(number), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_limited_by_person_and_organisation() {
    let app = start().await;
    let ada = register(&app).await;
    let member = join(&app, &ada, "member").await;
    let body = json!({"name": "a program"});
    let make = |person: &Person| {
        let (client, body) = (person.client.clone(), body.clone());
        async move { client.post("/api/keys", &body).await }
    };
    assert_eq!(
        at_once((0..8).map(|_| make(&ada))).await,
        [201, 201, 201, 409, 409, 409, 409, 409]
    );
    told(&make(&ada).await, "3");
    make(&member).await.ok(201);
    told(&make(&member).await, "4");
    // One that is revoked makes room.
    let listed = ada.client.get("/api/keys").await.ok(200);
    let id = listed["data"][0]["id"].as_str().unwrap();
    ada.client.delete(&format!("/api/keys/{id}")).await.ok(204);
    make(&member).await.ok(201);
    let other = register(&app).await;
    make(&other).await.ok(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invitations_are_limited_by_person_organisation_and_address() {
    let app = start().await;
    let ada = register(&app).await;
    let admin = join(&app, &ada, "admin").await;
    let invite = |person: &Person, email: String| {
        let (client, body) = (person.client.clone(), json!({"email": email, "role": "member"}));
        async move { client.post("/api/invitations", &body).await }
    };
    let email = fresh_email();
    assert_eq!(
        at_once((0..4).map(|_| invite(&ada, email.clone()))).await,
        [201, 201, 409, 409]
    );
    told(&invite(&admin, email.to_uppercase()).await, "2");
    invite(&ada, fresh_email()).await.ok(201);
    told(&invite(&ada, fresh_email()).await, "3");
    invite(&admin, fresh_email()).await.ok(201);
    told(&invite(&admin, fresh_email()).await, "4");
    let listed = ada.client.get("/api/invitations").await.ok(200);
    let id = listed["data"][0]["id"].as_str().unwrap();
    ada.client.delete(&format!("/api/invitations/{id}")).await.ok(204);
    invite(&admin, fresh_email()).await.ok(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_are_limited_by_person() {
    let app = start().await;
    let ada = register(&app).await;
    let create = || {
        let client = ada.client.clone();
        async move { client.post("/api/conversations", &json!({})).await }
    };
    assert_eq!(at_once((0..6).map(|_| create())).await, [201, 201, 201, 409, 409, 409]);
    told(&create().await, "3");
    let listed = ada.client.get("/api/conversations").await.ok(200);
    let id = listed["data"][0]["id"].as_str().unwrap();
    ada.client.delete(&format!("/api/conversations/{id}")).await.ok(204);
    create().await.ok(201);
}

/// Nobody is kept from signing in by where they are signed in already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_sign_in_too_many_the_oldest_session_ends() {
    let app = start().await;
    let ada = register(&app).await;
    let right = json!({"email": ada.email, "password": PASSWORD});
    let sign_in = || {
        let (client, right) = (app.client.clone(), right.clone());
        async move { client.post("/api/auth/login", &right).await }
    };
    let mut people = Vec::new();
    for _ in 0..2 {
        people.push(Person::of(&app.client, &sign_in().await.ok(200)));
    }
    ada.client.get("/api/users/me").await.ok(200);
    people.push(Person::of(&app.client, &sign_in().await.ok(200)));
    ada.client.get("/api/users/me").await.problem(401, "unauthenticated");
    for person in &people {
        person.client.get("/api/users/me").await.ok(200);
    }
    assert_eq!(at_once((0..6).map(|_| sign_in())).await, [200; 6]);
    let newest = Person::of(&app.client, &sign_in().await.ok(200));
    let listed = newest.client.get("/api/sessions").await.ok(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 3, "{listed}");
}

/// Who adds one looks at the count when nobody else is adding: in slow motion, since both would have to look in the same moment.
#[tokio::test]
async fn who_adds_one_waits_for_another_who_does() {
    let app = start().await;
    let ada = register(&app).await;
    let member = join(&app, &ada, "member").await;
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(ada.create_key().await.0);
        ada.conversation().await;
    }
    // Another instance makes the third of each.
    ada.client.delete(&format!("/api/keys/{}", keys[0])).await.ok(204);
    let third = format!(
        "SELECT id FROM organizations WHERE id = '{}' FOR NO KEY UPDATE; UPDATE api_keys SET revoked_at = NULL WHERE id = '{}'",
        ada.organization, keys[0]
    );
    let uncommitted = Uncommitted::change(&app, third).await;
    let body = json!({"name": "a program"});
    let (answer, ()) = tokio::join!(ada.client.post("/api/keys", &body), uncommitted.commit_under(&app));
    told(&answer, "3");

    let one = "SELECT id FROM conversations ORDER BY id LIMIT 1";
    let given = format!("UPDATE conversations SET user_id = '{}' WHERE id = ({one})", member.id);
    Uncommitted::change(&app, given).await.commit().await;
    let third = format!(
        "SELECT id FROM users WHERE id = '{}' FOR NO KEY UPDATE; UPDATE conversations SET user_id = '{}' WHERE id = ({one})",
        ada.id, ada.id
    );
    let uncommitted = Uncommitted::change(&app, third).await;
    let body = json!({});
    let (answer, ()) = tokio::join!(
        ada.client.post("/api/conversations", &body),
        uncommitted.commit_under(&app)
    );
    told(&answer, "3");
}

#[tokio::test]
async fn whoever_counts_waits_for_a_change_of_a_role_and_it_for_nobody() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let invitation = json!({"email": fresh_email(), "role": "member"});
    for (path, body) in [("/api/invitations", invitation), ("/api/keys", json!({"name": "late"}))] {
        let locked = format!("SELECT id FROM users WHERE id = '{}' FOR UPDATE", ada.id);
        let mut change = Uncommitted::change(&app, locked).await;
        let changing = async {
            change.is_waited_for(&app).await;
            change.take_organization(&ada.organization).await;
            change.commit().await;
        };
        let (made, ()) = tokio::join!(ada.client.post(path, &body), changing);
        made.ok(201);
    }
}
