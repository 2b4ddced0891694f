//! A Redis that answers and refuses writes: health warns and says why, and nobody is shown what it holds until it takes them.

use serde_json::{Value, json};

use super::check;
use crate::support::{
    Client, TestApp,
    accounts::register,
    eventually,
    redis::{Redis, Refusal},
};

async fn name_of(client: &Client) -> String {
    client.get("/api/users/me").await.ok(200)["name"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn status_is(operations: &Client, status: &'static str) -> Value {
    eventually("health to notice", || async {
        let health = operations.get("/api/health").await.ok(200);
        (check(&health, "redis_connection")["status"] == status).then_some(health)
    })
    .await
}

async fn is_told_and_believed_by_nobody(refusal: Refusal) {
    let redis = Redis::start().await;
    let url = redis.url();
    let app = TestApp::start_with(|config| {
        config.redis.url = Some(url.into());
        config.providers.remove("refusing");
        config.models.retain(|model| model.provider != "refusing");
    })
    .await;
    let (second, other) = app.start_second().await;
    let operations = [app.server.ops_address(), second.ops_address()].map(|address| Client::new(address.unwrap()));
    let ada = register(&app).await;
    let (one, two) = (&ada.client, other.with(&ada.access_token));
    for operations in &operations {
        status_is(operations, "pass").await;
    }
    let entries = || redis.run(&["--scan", "--pattern", "maple:*:profile.*"]).lines().count();
    assert_eq!(name_of(one).await, "Ada Lovelace");
    eventually("her profile to be in Redis", || async { (entries() > 0).then_some(()) }).await;
    assert_eq!(name_of(&two).await, "Ada Lovelace");

    redis.refuse_writes(refusal).await;
    for operations in &operations {
        let health = status_is(operations, "warn").await;
        assert_eq!(health["status"], "warn", "{health}");
        let told = check(&health, "redis_connection")["components"]["redis"]["detail"].to_string();
        assert!(told.contains(&format!("refuses writes: {}", refusal.word())), "{told}");
    }
    let strangers = app.client.get("/api/health").await;
    assert!(!strangers.text().contains("refuses"), "{}", strangers.text());
    // The old name cannot be taken out of Redis, and is shown by nobody: who starts now does not believe it either.
    one.patch("/api/users/me", &json!({"name": "Augusta Ada King"}))
        .await
        .ok(200);
    assert_eq!(name_of(one).await, "Augusta Ada King");
    // One that is out of memory lets go of what it has.
    assert!(entries() > 0 || matches!(refusal, Refusal::IsFull), "the old one");
    eventually("the other instance to know", || async {
        (name_of(&two).await == "Augusta Ada King").then_some(())
    })
    .await;
    let (_third, newcomer) = app.start_second().await;
    let newcomer = newcomer.with(&ada.access_token);
    assert_eq!(name_of(&newcomer).await, "Augusta Ada King");

    redis.take_writes(refusal).await;
    for operations in &operations {
        assert_eq!(status_is(operations, "pass").await["status"], "pass");
    }
    eventually("profiles to be shared again", || async {
        let before = entries();
        name_of(&register(&app).await.client).await;
        (entries() > before).then_some(())
    })
    .await;
    for client in [one, &two, &newcomer] {
        assert_eq!(name_of(client).await, "Augusta Ada King");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_has_become_a_replica_is_a_warning() {
    is_told_and_believed_by_nobody(Refusal::IsReplica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_memory_is_a_warning() {
    is_told_and_believed_by_nobody(Refusal::IsFull).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_its_replicas_is_a_warning() {
    is_told_and_believed_by_nobody(Refusal::LacksReplicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_cannot_save_is_a_warning() {
    is_told_and_believed_by_nobody(Refusal::CannotSave).await;
}
