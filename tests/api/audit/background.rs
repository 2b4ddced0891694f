//! What nobody asks for by a request: operators at the command line, and what MapleAI does by itself.

use std::time::Duration;

use serde_json::{Value, json};

use super::{events, stored, the_one};
use crate::support::{
    Client, TestApp,
    accounts::{PASSWORD, Person, fresh_email, join, register},
    app::OPS_TOKEN,
    eventually,
};
use people::accounts::Registration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_does_at_the_command_line_is_told() {
    let app = TestApp::start().await;
    let email = fresh_email();
    let registration = Registration {
        email: email.clone(),
        password: PASSWORD.into(),
        name: "Ada Lovelace".to_owned(),
        organization: "Analytical Engines".to_owned(),
    };
    let user = mapleai::app::create_organization(app.config.clone(), registration)
        .await
        .unwrap();
    let new = "a password of the operator's";
    mapleai::app::reset_password(app.config.clone(), &email, new.into())
        .await
        .unwrap();
    let login = json!({"email": email, "password": new});
    let owner = Person::of(&app.client, &app.client.post("/api/auth/login", &login).await.ok(200));
    let told = events(&owner.client, "?actor=operator").await;
    assert_eq!(told.len(), 2, "{told:?}");
    for action in ["organization.registered", "password.reset"] {
        let event = the_one(&told, action);
        assert_eq!(event["actor"], json!({"kind": "operator", "id": null, "name": null}));
        assert_eq!((&event["address"], &event["request_id"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(the_one(&told, "password.reset")["target"]["id"], user.id.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_purge_is_told_to_the_organization_it_concerns() {
    let app = TestApp::start().await;
    let (owner, other) = (register(&app).await, register(&app).await);
    let operations = Client::new(app.server.ops_address().unwrap()).with(OPS_TOKEN);
    for body in [
        json!({"organization": owner.organization}),
        // Nobody's, and everybody's.
        json!({"organization": owner.id}),
        json!({}),
    ] {
        assert!(operations.post("/cache/purge", &body).await.status.is_success());
    }
    eventually("the purge to be told", || async {
        (stored(&app, "action = 'cache.purged'").await == 1).then_some(())
    })
    .await;
    let told = events(&owner.client, "?action=cache.purged").await;
    assert_eq!(told[0]["after"], json!({"class": "all"}));
    assert!(events(&other.client, "?action=cache.purged").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_that_are_kept_no_longer_are_counted() {
    let app = TestApp::start_with(|config| {
        config.retention.interval = Duration::from_millis(50);
        config.retention.conversations = Some(Duration::from_hours(24));
    })
    .await;
    let (owner, other) = (register(&app).await, register(&app).await);
    let member = join(&app, &owner, "member").await;
    for person in [&owner, &member, &other] {
        person.conversation().await;
    }
    let kept = owner.conversation().await;
    sqlx::query("UPDATE conversations SET updated_at = updated_at - interval '2 days' WHERE id <> $1::uuid")
        .bind(&kept)
        .execute(&mut app.database().await)
        .await
        .unwrap();
    eventually("old conversations to go", || async {
        let told = events(&owner.client, "?actor=system").await;
        let gone: u64 = told
            .iter()
            .map(|event| event["after"]["conversations"].as_u64().unwrap())
            .sum();
        (gone == 2).then_some(())
    })
    .await;
    let told = events(&owner.client, "?action=conversation.deleted").await;
    assert_eq!(told[0]["target"]["kind"], "conversations");
    assert_eq!(told[0]["after"]["reason"], "kept no longer");
}
