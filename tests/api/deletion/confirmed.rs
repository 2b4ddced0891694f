//! What ends for good takes the password, whenever it was given last.

use serde_json::{Value, json};

use crate::support::{
    TestApp,
    accounts::{PASSWORD, join, register},
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
