//! What ends for good takes the password, whenever it was given last.

use serde_json::{Value, json};

use crate::support::{
    TestApp,
    accounts::{PASSWORD, join, register},
    locks::Uncommitted,
};

#[tokio::test]
async fn an_organization_is_deleted_by_an_owner_who_says_the_password() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let admin = join(&app, &owner, "admin").await;
    let path = "/api/organization/deletion";
    let (wrong, right) = (
        json!({"current_password": "wrong"}),
        json!({"current_password": PASSWORD}),
    );
    owner
        .client
        .delete_with(path, &wrong)
        .await
        .problem(403, "wrong_password");
    owner
        .client
        .delete_with("/api/users/me", &wrong)
        .await
        .problem(403, "wrong_password");
    admin.client.delete_with(path, &right).await.problem(403, "not_allowed");
    let settings = owner.client.get("/api/organization").await.ok(200);
    assert_eq!(settings["delete_after"], Value::Null);
    let told = owner.client.delete_with(path, &right).await.json();
    assert!(told["delete_after"].is_string(), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_waits_for_a_change_of_a_role_and_it_for_nobody() {
    let app = super::swift().await;
    let owner = register(&app).await;
    let locked = format!("SELECT id FROM users WHERE id = '{}' FOR UPDATE", owner.id);
    let mut change = Uncommitted::change(&app, locked).await;
    let due = format!(
        "UPDATE organizations SET delete_after = now() - interval '1 hour' WHERE id = '{}'",
        owner.organization
    );
    Uncommitted::change(&app, due).await.commit().await;
    change.is_waited_for(&app).await;
    change.take_organization(&owner.organization).await;
    change.commit().await;
    // It was taken back while the erasure waited.
    assert_eq!(
        owner.client.get("/api/organization").await.ok(200)["delete_after"],
        Value::Null
    );
}
