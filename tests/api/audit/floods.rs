//! Failures change nothing, and are told all the same: in few events, however many there are.

use serde_json::{Value, json};

use super::{events, sign_in, stored, the_one};
use crate::support::{
    TestApp,
    accounts::{join, register},
    eventually,
};

const WRONG: &str = "not the password of anybody";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_failed_sign_ins_is_told_in_few_events() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    sign_in(&app, &member, WRONG).await.problem(401, "invalid_credentials");
    let failed = || events(&owner.client, "?action=session.sign_in_failed");
    let first = eventually("the first to be told", || async {
        let found = failed().await;
        (!found.is_empty()).then_some(found)
    })
    .await;
    let event = the_one(&first, "session.sign_in_failed");
    assert_eq!(event["target"]["id"], member.id);
    // It was somebody, and not the member.
    assert_eq!(event["actor"], json!({"kind": "unknown", "id": null, "name": null}));
    assert_eq!(event["address"], "127.0.0.1");
    for _ in 0..20 {
        sign_in(&app, &member, WRONG).await.problem(401, "invalid_credentials");
    }
    // Nobody's is no organisation's.
    let nobody = json!({"email": "nobody@maple.test", "password": WRONG});
    app.client
        .post("/api/auth/login", &nobody)
        .await
        .problem(401, "invalid_credentials");
    let wrong = json!({"password": WRONG});
    for _ in 0..3 {
        member
            .client
            .post("/api/auth/confirm", &wrong)
            .await
            .problem(403, "wrong_password");
    }
    let (database, _upstream) = app.stop().await;
    let told: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT action, count(*), sum(occurrences)::bigint FROM audit_events
         WHERE action IN ('session.sign_in_failed', 'password.not_confirmed') GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(&mut database.unwrap().connection().await)
    .await
    .unwrap();
    // Each is counted, by the end of the process at the latest. A minute may have gone by.
    assert_eq!((told[1].0.as_str(), told[1].2), ("session.sign_in_failed", 21));
    assert!((2..=3).contains(&told[1].1), "{told:?}");
    assert_eq!((told[0].0.as_str(), told[0].2), ("password.not_confirmed", 3));
    assert!((1..=3).contains(&told[0].1), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_does_not_wait_for_a_table_that_is_locked_to_fail() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let mut database = app.database().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE")
        .execute(&mut database)
        .await
        .unwrap();
    for _ in 0..3 {
        sign_in(&app, &owner, WRONG).await.problem(401, "invalid_credentials");
    }
    sqlx::raw_sql("COMMIT").execute(&mut database).await.unwrap();
    eventually("all of them to be told", || async {
        let found = events(&owner.client, "?action=session.sign_in_failed").await;
        let told: u64 = found.iter().filter_map(|event| event["occurrences"].as_u64()).sum();
        (told >= 1).then_some(())
    })
    .await;
    assert_eq!(stored(&app, "address_of IS NULL AND address IS NOT NULL").await, 0);
    let found = events(&owner.client, "?action=session.sign_in_failed").await;
    assert!(found.iter().all(|event| event["before"] == Value::Null), "{found:?}");
}
