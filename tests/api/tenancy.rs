//! Another organisation's ids open nothing and tell nothing. The routes come from the router's own table: one that takes
//! an id and has no case here fails the test.

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, TestApp,
    accounts::{Browser, Person, fresh_email, join, register},
};

/// What the victim owns.
struct Things {
    user: String,
    key: String,
    invitation: String,
    conversation: String,
    session: String,
}

impl Things {
    async fn of(owner: &Person) -> Self {
        let body = json!({"email": fresh_email(), "role": "member"});
        let invitation = owner.client.post("/api/invitations", &body).await.ok(201);
        let sessions = owner.client.get("/api/sessions").await.ok(200);
        Self {
            user: owner.id.clone(),
            key: owner.create_key().await.0,
            invitation: invitation["id"].as_str().unwrap().to_owned(),
            conversation: asked(owner).await,
            session: sessions["data"][0]["id"].as_str().unwrap().to_owned(),
        }
    }

    /// The victim's id that belongs into this template, and a good body. `None`: not an id of anybody's.
    fn case(&self, method: &Method, template: &str) -> Option<(&str, Value)> {
        let body = match (method.as_str(), template) {
            ("PATCH", "/api/users/{id}") => json!({"role": "member"}),
            ("PATCH", "/api/conversations/{id}") => json!({"title": "Mine now"}),
            ("POST", "/api/conversations/{id}/messages") => json!({"content": "What is the launch code?"}),
            (
                "POST",
                "/api/conversations/{id}/regenerate"
                | "/settings/members/{id}"
                | "/settings/members/{id}/remove"
                | "/settings/invitations/{id}/revoke"
                | "/settings/sessions/{id}/end",
            )
            | (
                "DELETE",
                "/api/keys/{id}"
                | "/api/invitations/{id}"
                | "/api/conversations/{id}"
                | "/api/users/{id}"
                | "/api/sessions/{id}",
            )
            | ("GET", "/api/conversations/{id}" | "/c/{id}") => json!({}),
            // Models belong to everybody, invitation links to whoever holds one, and assets to nobody.
            ("GET", "/v1/models/{*id}" | "/invite/{token}" | "/assets/{name}") | ("POST", "/invite/{token}") => {
                return None;
            }
            other => panic!("{other:?} takes an id and has no case in the tenancy test"),
        };
        let id = match template.split('/').nth(2).unwrap() {
            "users" | "members" => &self.user,
            "keys" => &self.key,
            "invitations" => &self.invitation,
            "sessions" => &self.session,
            _ => &self.conversation,
        };
        Some((id, body))
    }
}

/// A conversation with a question and an answer in it.
async fn asked(person: &Person) -> String {
    let conversation = person.conversation().await;
    let ask = json!({"content": "The launch code is 0000"});
    person
        .client
        .stream(&format!("/api/conversations/{conversation}/messages"), &ask)
        .await
        .until("done")
        .await;
    conversation
}

/// Every route whose path has a parameter.
fn id_routes(app: &TestApp) -> Vec<(Method, String)> {
    let routes = app.server.edge().routes().filter(|route| route.path.contains('{'));
    routes
        .map(|route| (route.method.clone(), route.path.to_string()))
        .collect()
}

/// Calls a route as its caller would: JSON under `/api`, and a form on pages.
async fn call(person: &Person, browser: &Browser, method: &Method, template: &str, id: &str, body: &Value) -> Answer {
    let path = template.replace("{id}", id);
    if template.starts_with("/api/") {
        Answer::of(person.client.request(method.clone(), &path).json(body)).await
    } else if method == Method::GET {
        browser.get(&path).await
    } else {
        browser.submit(&path, &[("role", "member")]).await
    }
}

#[tokio::test]
async fn another_organisations_ids_are_not_found() {
    let app = TestApp::start().await;
    let (ada, eve) = (register(&app).await, register(&app).await);
    let things = Things::of(&ada).await;
    let browser = Browser::sign_in(&app, &eve).await;
    let before = inventory(&ada).await;
    let mut tried = 0;
    for (method, template) in id_routes(&app) {
        let Some((id, body)) = things.case(&method, &template) else {
            continue;
        };
        let attack = call(&eve, &browser, &method, &template, id, &body).await;
        assert_eq!(attack.status, 404, "{method} {template}: {}", attack.text());
        assert!(
            !attack.text().contains("launch code"),
            "{method} {template} tells: {}",
            attack.text()
        );

        // An id that nobody has gets the very same answer, so that ids are no oracle.
        let nobodys = "0190a0a0-0000-7000-8000-000000000000";
        let control = call(&eve, &browser, &method, &template, nobodys, &body).await;
        let told = |answer: &Answer| answer.text().replace(answer.header("x-request-id"), "");
        assert_eq!(
            (control.status, told(&control)),
            (attack.status, told(&attack)),
            "{method} {template}"
        );
        tried += 1;
    }
    assert!(tried >= 15, "only {tried} routes were tried");
    assert_eq!(inventory(&ada).await, before, "something of Ada's has changed");
    assert_eq!(app.upstream.calls().len(), 1, "only Ada's own question went out");
}

/// All that the owner can see, for comparison.
async fn inventory(owner: &Person) -> Vec<Value> {
    let mut seen = Vec::new();
    for path in [
        "/api/users",
        "/api/keys",
        "/api/invitations",
        "/api/conversations",
        "/api/sessions",
    ] {
        seen.push(owner.client.get(path).await.ok(200));
    }
    let id = seen[3]["data"][0]["id"].as_str().unwrap().to_owned();
    seen.push(owner.client.get(&format!("/api/conversations/{id}")).await.ok(200));
    seen
}

#[tokio::test]
async fn lists_show_the_own_organisation_only() {
    let app = TestApp::start().await;
    let (ada, eve) = (register(&app).await, register(&app).await);
    let _things = Things::of(&ada).await;
    let body = json!({"model": "maple-chat", "messages": [{"role": "user", "content": "Hi"}]});
    ada.program().await.post("/v1/chat/completions", &body).await.ok(200);
    crate::support::eventually("Ada's usage", || async {
        (ada.client.get("/api/usage").await.ok(200)["totals"]["requests"] == 2).then_some(())
    })
    .await;
    assert_eq!(
        eve.client.get("/api/users").await.ok(200)["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    for path in ["/api/keys", "/api/invitations", "/api/conversations"] {
        assert_eq!(eve.client.get(path).await.ok(200)["data"], json!([]), "{path}");
    }
    let usage = eve.client.get("/api/usage").await.ok(200);
    assert_eq!(usage["totals"]["requests"], 0, "{usage}");
    assert_eq!(usage["by_key"], json!([]), "{usage}");
}

#[tokio::test]
async fn colleagues_do_not_read_each_others_conversations() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    let things = Things {
        conversation: asked(&member).await,
        ..Things::of(&owner).await
    };
    for (method, template) in id_routes(&app) {
        if !template.starts_with("/api/conversations/") {
            continue;
        }
        let (id, body) = things.case(&method, &template).unwrap();
        let path = template.replace("{id}", id);
        Answer::of(owner.client.request(method, &path).json(&body))
            .await
            .problem(404, "not_found");
    }
    let owners = owner.client.get("/api/conversations").await.ok(200);
    assert_eq!(owners["data"].as_array().unwrap().len(), 1, "{owners}");
}

#[tokio::test]
async fn what_is_no_id_is_not_found() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let things = Things::of(&ada).await;
    let browser = Browser::sign_in(&app, &ada).await;
    for (method, template) in id_routes(&app) {
        let Some((_, body)) = things.case(&method, &template) else {
            continue;
        };
        for junk in ["1", "not-a-uuid", "%00", "..%2f..", "'%20OR%201=1"] {
            let answer = call(&ada, &browser, &method, &template, junk, &body).await;
            assert_eq!(answer.status, 404, "{method} {template} with {junk}: {}", answer.text());
        }
    }
}
