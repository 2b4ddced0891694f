//! The report's lines of keys: in parts, and for members their own.

use serde_json::{Value, json};

use super::{CHAT, ask, record};
use crate::support::{
    TestApp,
    accounts::{join, register},
};

fn keys(report: &Value) -> Vec<Value> {
    let lines = report["by_key"].as_array().unwrap();
    lines.iter().map(|line| line["key_id"].clone()).collect()
}

#[tokio::test]
async fn keys_come_in_parts_and_each_once() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let mut made = Vec::new();
    for number in 0..5 {
        let (id, key) = ada.create_key().await;
        made.push(Value::from(id));
        app.client.with(&key).post(CHAT, &ask("Hi", false)).await.ok(200);
        record(&app, number + 1).await;
    }
    let conversation = ada.conversation().await;
    let question = json!({"content": "Hi", "model": "maple-chat"});
    let path = format!("/api/conversations/{conversation}/messages");
    ada.client.stream(&path, &question).await.until("done").await;
    record(&app, 6).await;

    let whole = ada.client.get("/api/usage").await.ok(200);
    assert_eq!((keys(&whole).len(), &whole["next_key"]), (6, &Value::Null));
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let part = ada.client.get(&format!("/api/usage?keys=2{after}")).await.ok(200);
        assert_eq!(part["totals"], whole["totals"]);
        seen.extend(keys(&part));
        assert!(seen.len() <= 6);
        match part["next_key"].as_str() {
            Some(next) => after = format!("&after_key={next}"),
            None => break,
        }
    }
    assert_eq!(seen, keys(&whole));
    made.push(Value::Null);
    assert!(made.iter().all(|key| seen.contains(key)), "{seen:?}");
    for bad in ["keys=0", "keys=1001", "after_key=x"] {
        let refused = ada.client.get(&format!("/api/usage?{bad}")).await;
        assert!(
            refused.status == 422 || refused.status == 400,
            "{bad}: {}",
            refused.text()
        );
    }
}

#[tokio::test]
async fn members_see_the_total_and_their_own_keys() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let (admin, member) = (join(&app, &owner, "admin").await, join(&app, &owner, "member").await);
    let mut ids = Vec::new();
    for (number, person) in [&owner, &member].into_iter().enumerate() {
        let (id, key) = person.create_key().await;
        ids.push(json!(id));
        app.client.with(&key).post(CHAT, &ask("Hi", false)).await.ok(200);
        record(&app, number + 1).await;
    }
    for (person, sees) in [(&owner, &ids[..]), (&admin, &ids[..]), (&member, &ids[1..])] {
        let report = person.client.get("/api/usage").await.ok(200);
        assert_eq!(report["totals"]["requests"], 2);
        let mut seen = keys(&report);
        seen.sort_by_key(|key| ids.iter().position(|id| id == key));
        assert_eq!(seen, sees);
    }
}
