//! The audit log: what is written of what was done, who reads it, and what becomes of it.

mod actions;
mod background;
mod floods;
mod leaving;
mod reading;
mod together;

use http::Method;
use serde_json::Value;

use crate::support::{Answer, Client, TestApp, accounts::Person};

/// A request that is found again by its id.
async fn send(client: &Client, request_id: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let request = client.request(method, path).header("x-request-id", request_id);
    Answer::of(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

/// Events that an administrator is shown, newest first.
async fn events(reader: &Client, query: &str) -> Vec<Value> {
    let list = reader.get(&format!("/api/audit{query}")).await.ok(200);
    list["data"].as_array().unwrap().clone()
}

/// All events of a request.
async fn of_request(reader: &Client, request_id: &str) -> Vec<Value> {
    let all = events(reader, "?limit=100").await;
    all.into_iter()
        .filter(|event| event["request_id"] == request_id)
        .collect()
}

/// The one event of a request with this action.
#[track_caller]
fn the_one<'a>(events: &'a [Value], action: &str) -> &'a Value {
    let found: Vec<_> = events.iter().filter(|event| event["action"] == action).collect();
    assert_eq!(found.len(), 1, "{action} in {events:?}");
    found[0]
}

/// Rows of the table, whoever may read them.
async fn stored(app: &TestApp, condition: &str) -> i64 {
    let query = format!("SELECT count(*) FROM audit_events WHERE {condition}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query))
        .fetch_one(&mut app.database().await)
        .await
        .unwrap()
}

/// Signs in once more.
async fn sign_in(app: &TestApp, person: &Person, password: &str) -> Answer {
    let login = serde_json::json!({"email": person.email, "password": password});
    app.client.post("/api/auth/login", &login).await
}
