//! What becomes of the log when people leave, time passes, and organisations end.

use std::time::Duration;

use domain::ids::AuditEventId;
use serde_json::{Value, json};

use super::{events, sign_in, stored};
use crate::support::{
    TestApp,
    accounts::{PASSWORD, join, register},
    eventually,
};

async fn swift() -> TestApp {
    TestApp::start_with(|config| config.retention.interval = Duration::from_millis(50)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_goes_with_the_person_and_ids_stay() {
    let app = swift().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    sign_in(&app, &member, PASSWORD).await.ok(200);
    sign_in(&app, &member, "not the password of anybody")
        .await
        .problem(401, "invalid_credentials");
    let of_member = format!("address_of = '{}'", member.id);
    eventually("the failure to be told", || async {
        (stored(
            &app,
            &format!("{of_member} AND address IS NOT NULL AND action = 'session.sign_in_failed'"),
        )
        .await
            == 1)
            .then_some(())
    })
    .await;
    let by_member = format!("?actor={}", member.id);
    let before = events(&owner.client, &by_member).await;
    assert!(
        before.len() >= 3 && before.iter().all(|event| event["address"] == "127.0.0.1"),
        "{before:?}"
    );

    owner.client.delete(&format!("/api/users/{}", member.id)).await.ok(204);
    // Shown to nobody from that moment, though the sweeper may not have come by.
    let after = events(&owner.client, &by_member).await;
    assert_eq!(after.len(), before.len());
    for event in &after {
        assert_eq!(event["address"], Value::Null, "{event}");
        assert_eq!(
            event["actor"],
            json!({"kind": "user", "id": member.id, "name": "Removed person"})
        );
    }
    eventually("the addresses to be erased", || async {
        (stored(&app, &format!("{of_member} AND address IS NOT NULL")).await == 0).then_some(())
    })
    .await;
    assert!(stored(&app, &of_member).await > 3);
    // Nothing else of the person is in the table, and the addresses of others are as they were.
    assert_eq!(
        stored(&app, &format!("audit_events::text LIKE '%{}%'", member.email)).await,
        0
    );
    assert_eq!(stored(&app, "audit_events::text LIKE '%Grace%'").await, 0);
    assert!(stored(&app, &format!("address_of = '{}' AND address IS NOT NULL", owner.id)).await > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_kept_for_as_long_as_is_said() {
    let app = TestApp::start_with(|config| {
        config.retention.interval = Duration::from_millis(50);
        config.retention.audit_events = Duration::from_hours(30 * 24);
    })
    .await;
    let owner = register(&app).await;
    let kept = stored(&app, "true").await;
    let now = chrono::Utc::now();
    // More than one statement takes away; the last three are young enough.
    for age in (0..250).map(|number| if number < 247 { 31 } else { 29 }) {
        let at = now - chrono::TimeDelta::days(age);
        sqlx::query(
            "INSERT INTO audit_events (id, organization_id, occurred_at, action, actor_kind, target_kind, occurrences)
             VALUES ($1, $2::uuid, $3, 'cache.purged', 'operator', 'cache', 1)",
        )
        .bind(AuditEventId::at(at).0)
        .bind(&owner.organization)
        .bind(at)
        .execute(&mut app.database().await)
        .await
        .unwrap();
    }
    eventually("old events to go", || async {
        (stored(&app, "true").await == kept + 3).then_some(())
    })
    .await;
    assert_eq!(events(&owner.client, "?action=cache.purged").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_goes_with_the_organization_and_no_other() {
    let app = TestApp::start_with(|config| {
        config.retention.interval = Duration::from_millis(50);
        config.retention.organization_grace = Duration::from_millis(1);
    })
    .await;
    let (owner, other) = (register(&app).await, register(&app).await);
    join(&app, &owner, "member").await;
    owner.conversation().await;
    let theirs = format!("organization_id = '{}'", other.organization);
    let before = stored(&app, &theirs).await;
    let password = json!({"current_password": PASSWORD});
    owner
        .client
        .delete_with("/api/organization/deletion", &password)
        .await
        .ok(202);
    eventually("the organisation to be gone", || async {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM organizations")
            .fetch_one(&mut app.database().await)
            .await
            .unwrap();
        (left == 1).then_some(())
    })
    .await;
    assert_eq!(
        stored(&app, &format!("organization_id = '{}'", owner.organization)).await,
        0
    );
    assert_eq!(stored(&app, &theirs).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_take_along_what_they_did_and_nothing_that_others_did() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    // More than are read at once.
    for _ in 0..60 {
        member.create_key().await;
    }
    let export = member.client.get("/api/users/me/export").await.ok(200);
    let own = export["audit_events"].as_array().unwrap();
    assert_eq!(own.len(), 62, "an invitation, a session, and keys");
    assert!(
        own.iter()
            .all(|event| event["actor"]["id"] == member.id && event["address"] == "127.0.0.1")
    );
    assert_eq!(own[61]["action"], "invitation.accepted");
    assert_eq!(own[0]["action"], "api_key.created");
}
