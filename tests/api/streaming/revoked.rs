//! Streams end with the key, session or membership that they were asked for with.

use http::Method;
use serde_json::{Value, json};
use sqlx::Row as _;

use super::{ask, start};
use crate::support::{
    Answer, Client, Reply, TestApp,
    accounts::{Browser, Person, join, register},
    client::Events,
    eventually,
};

/// A stream that has begun and would never end.
async fn begun(app: &TestApp, client: &Client, body: &Value) -> Events {
    app.upstream.reply(Reply::events().text("Half an").stall());
    let mut events = client.stream("/v1/chat/completions", body).await;
    events.next().await.unwrap();
    events
}

/// Waits for the last event of a stream whose credential is gone.
async fn is_told(mut events: Events) {
    let rest = events.rest().await;
    let last = rest
        .last()
        .map_or(serde_json::Value::Null, crate::support::client::Event::json);
    assert_eq!(last["error"]["type"], "invalid_request_error", "{rest:?}");
}

async fn every_upstream_call_is_over(app: &TestApp) {
    eventually("the end of the upstream calls", || async {
        let calls = app.upstream.calls();
        calls.iter().all(|call| call.hung_up.is_some()).then_some(())
    })
    .await;
}

/// One that is not streamed may take minutes as well.
#[tokio::test]
async fn a_call_that_waits_for_its_whole_answer_ends_with_its_key() {
    let (app, _) = start().await;
    let ada = register(&app).await;
    let (id, key) = ada.create_key().await;
    let program = app.client.with(&key);
    let shared = json!({"model": "maple-chat", "seed": 1, "messages": []});
    let mut calls = Vec::new();
    for body in [ask(false), shared] {
        app.upstream.reply(Reply::silent());
        let program = program.clone();
        calls.push(tokio::spawn(async move {
            program.post("/v1/chat/completions", &body).await
        }));
    }
    eventually("the upstream calls", || async {
        (app.upstream.calls().len() == 2).then_some(())
    })
    .await;
    ada.client.delete(&format!("/api/keys/{id}")).await.ok(204);
    for call in calls {
        call.await.unwrap().openai_error(401, "invalid_api_key");
    }
    every_upstream_call_is_over(&app).await;
}

#[tokio::test]
async fn calls_end_when_their_key_or_session_expires() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let until = chrono::Utc::now() + chrono::TimeDelta::seconds(2);
    let key = ada
        .client
        .post("/api/keys", &json!({"name": "short", "expires_at": until}))
        .await
        .ok(201);
    let program = app.client.with(key["key"].as_str().unwrap());
    let stream = begun(&app, &program, &ask(true)).await;
    app.upstream.reply(Reply::silent());
    let whole = program.post("/v1/chat/completions", &ask(false)).await;
    whole.openai_error(401, "invalid_api_key");
    is_told(stream).await;
    every_upstream_call_is_over(&app).await;
    assert!(chrono::Utc::now() >= until);
}

#[tokio::test]
async fn a_stream_ends_with_its_key_and_is_charged() {
    let (app, _) = start().await;
    let ada = register(&app).await;
    let (id, key) = ada.create_key().await;
    let (program, other) = (app.client.with(&key), ada.program().await);
    let (first, shared) = (
        begun(&app, &program, &ask(true)).await,
        // One that others may join.
        begun(
            &app,
            &program,
            &json!({"model": "maple-chat", "seed": 1, "messages": [], "stream": true}),
        )
        .await,
    );
    let mut others = begun(
        &app,
        &other,
        &json!({"model": "maple-chat", "seed": 2, "messages": [], "stream": true}),
    )
    .await;
    ada.client.delete(&format!("/api/keys/{id}")).await.ok(204);
    is_told(first).await;
    is_told(shared).await;
    let rest = tokio::time::timeout(std::time::Duration::from_millis(200), others.next()).await;
    assert!(rest.is_err(), "the other key is good: {rest:?}");
    // What went by is recorded, and charged.
    eventually("the records", || async {
        let rows = sqlx::query(
            "SELECT outcome, output_tokens, cost_nanodollars FROM usage_records WHERE api_key_id = $1::text::uuid",
        )
        .bind(&id)
        .fetch_all(&mut app.database().await)
        .await
        .unwrap();
        let charged = rows
            .iter()
            .all(|row| row.get::<String, _>("outcome") == "cancelled" && row.get::<i64, _>("cost_nanodollars") > 0);
        (rows.len() == 2 && charged).then_some(())
    })
    .await;
    drop(others);
    every_upstream_call_is_over(&app).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_session_on_the_page_and_off_it() {
    let (app, _) = start().await;
    let ada = register(&app).await;
    let program = begun(&app, &ada.client, &ask(true)).await;
    let browser = Browser::sign_in(&app, &ada).await;
    let conversation = ada.conversation().await;
    app.upstream.reply(Reply::events().text("Half an").stall());
    let request = app
        .client
        .request(Method::POST, &format!("/api/conversations/{conversation}/messages"))
        .header("cookie", &browser.cookie)
        .header("x-csrf-token", &browser.csrf_token)
        .json(&json!({"content": "Tell me"}));
    let mut page = Events::of(request.send().await.unwrap()).await;
    page.until("delta").await;
    assert_eq!(browser.submit("/sign-out", &[]).await.status, 303);
    page.until("error").await;
    // Only the browser was signed out.
    assert!(app.upstream.calls()[0].hung_up.is_none());
    ada.client.post("/api/auth/logout", &json!({})).await.ok(204);
    is_told(program).await;
    every_upstream_call_is_over(&app).await;
}

#[tokio::test]
async fn a_stream_ends_with_the_membership_before_its_first_word_too() {
    let (app, _) = start().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    let running = begun(&app, &member.program().await, &ask(true)).await;
    app.upstream.reply(Reply::silence());
    let program = member.program().await;
    let waiting = tokio::spawn(Answer::of(
        program.request(Method::POST, "/v1/chat/completions").json(&ask(true)),
    ));
    app.upstream.called(2).await;
    owner.client.delete(&format!("/api/users/{}", member.id)).await.ok(204);
    is_told(running).await;
    waiting.await.unwrap().openai_error(401, "invalid_api_key");
    every_upstream_call_is_over(&app).await;
}

/// Within the time in which the others hear of it, or look for themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_another_instance_ends_as_well() {
    let (app, _) = start().await;
    let ada = register(&app).await;
    let (_second, other) = app.start_second().await;
    let (id, key) = ada.create_key().await;
    let by_key = begun(&app, &other.with(&key), &ask(true)).await;
    let session = Person::of(
        &other,
        &other
            .post(
                "/api/auth/login",
                &json!({"email": ada.email, "password": crate::support::accounts::PASSWORD}),
            )
            .await
            .ok(200),
    );
    let by_session = begun(&app, &session.client, &ask(true)).await;
    ada.client.delete(&format!("/api/keys/{id}")).await.ok(204);
    ada.client.delete("/api/sessions").await.ok(204);
    is_told(by_key).await;
    is_told(by_session).await;
    every_upstream_call_is_over(&app).await;
}
