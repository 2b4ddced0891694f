//! Refresh tokens, of which each is good once: but two tabs wake at once, and answers get lost on the way.

use serde_json::json;

use crate::support::{
    Answer, TestApp,
    accounts::{Person, register},
};

async fn refresh(app: &TestApp, token: &str) -> Answer {
    let body = json!({"refresh_token": token});
    app.client.post("/api/auth/refresh", &body).await
}

/// As if the tokens that were used so far had been used a minute ago.
async fn a_minute_later(app: &TestApp) {
    sqlx::query("UPDATE refresh_tokens SET used_at = used_at - interval '1 minute'")
        .execute(&mut app.database().await)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_refresh_token_is_good_for_one_exchange() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let second = Person::of(&app.client, &refresh(&app, &ada.refresh_token).await.ok(200));
    assert_eq!(second.id, ada.id);
    assert_ne!(second.refresh_token, ada.refresh_token);
    second.client.get("/api/users/me").await.ok(200);
    let third = Person::of(&app.client, &refresh(&app, &second.refresh_token).await.ok(200));
    third.client.get("/api/users/me").await.ok(200);

    // The first token again: somebody else has it, so the session ends for both.
    a_minute_later(&app).await;
    let again = refresh(&app, &ada.refresh_token).await;
    again.problem(401, "unauthenticated");
    let third_again = refresh(&app, &third.refresh_token).await;
    third_again.problem(401, "unauthenticated");
    third.client.get("/api/users/me").await.problem(401, "unauthenticated");

    refresh(&app, "mr_junk").await.problem(401, "unauthenticated");
}

/// OpenRisk #700, fliks-app/fliks #457: two tabs that wake from sleep signed each other out.
#[tokio::test]
async fn two_refreshes_at_once_both_stay_signed_in() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let (one, two) = tokio::join!(refresh(&app, &ada.refresh_token), refresh(&app, &ada.refresh_token));
    let tabs = [one, two].map(|answer| Person::of(&app.client, &answer.ok(200)));
    assert_ne!(tabs[0].refresh_token, tabs[1].refresh_token);
    for tab in &tabs {
        tab.client.get("/api/users/me").await.ok(200);
    }
    // It is one session still, and each of them goes on.
    let sessions = ada.client.get("/api/sessions").await.ok(200);
    assert_eq!(sessions["data"].as_array().unwrap().len(), 1, "{sessions}");
    a_minute_later(&app).await;
    for tab in &tabs {
        refresh(&app, &tab.refresh_token).await.ok(200);
    }
    tabs[0].client.post("/api/auth/logout", &json!({})).await.ok(204);
    tabs[1]
        .client
        .get("/api/users/me")
        .await
        .problem(401, "unauthenticated");
}

#[tokio::test]
async fn the_grace_of_a_used_token_is_bounded() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let mut given = Vec::new();
    for _ in 0..20 {
        let answer = refresh(&app, &ada.refresh_token).await;
        if answer.status != 200 {
            break;
        }
        given.push(Person::of(&app.client, &answer.json()));
    }
    assert!((2..=10).contains(&given.len()), "{}", given.len());
    given[0]
        .client
        .get("/api/users/me")
        .await
        .problem(401, "unauthenticated");
}
