//! What never reaches the log.

use std::collections::BTreeSet;

use http::Method;
use mapleai::auth::access::Access;
use serde_json::{Value, json};

use super::{OPS_TOKEN, development, register, start};
use crate::support::{Answer, Client, TestApp, database::TestDatabase};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_text_reaches_the_log_at_any_level() {
    let database = TestDatabase::create().await;
    let process = start(&development(&database.url));
    let (client, operations) = process.ready().await;
    let (access, refresh) = register(&client).await;
    let mut secrets = vec![
        "MARKED-".to_owned(),
        access.clone(),
        refresh.clone(),
        // The mock's answers quote the question and begin so.
        "Good question".to_owned(),
    ];
    let person = client.with(&access);
    let key = person.post("/api/keys", &json!({"name": "a key"})).await.ok(201);
    let key = key["key"].as_str().unwrap().to_owned();
    secrets.push(key.clone());
    let invited = person
        .post(
            "/api/invitations",
            &json!({"email": "bob@maple.test", "role": "member"}),
        )
        .await
        .ok(201);
    secrets.extend(
        invited["url"]
            .as_str()
            .and_then(|url| url.rsplit('/').next())
            .map(str::to_owned),
    );

    secrets.extend(every_route(&client, &operations, &key, &invited["token"]).await);
    secrets.extend(every_form(&client).await);
    let wrong = json!({"email": "ada@maple.test", "password": "MARKED-wrong-password"});
    client
        .post("/api/auth/login", &wrong)
        .await
        .problem(401, "invalid_credentials");
    let right = json!({"email": "ada@maple.test", "password": "MARKED-password-of-ada"});
    let again = client.post("/api/auth/login", &right).await.ok(200);
    secrets.extend([&again["access_token"], &again["refresh_token"]].map(|token| token.as_str().unwrap().to_owned()));
    let ask =
        json!({"model": "maple-dev", "stream": true, "messages": [{"role": "user", "content": "MARKED-question"}]});
    let streamed = Answer::of(
        client
            .request(Method::POST, "/v1/chat/completions")
            .bearer_auth(&key)
            .json(&ask),
    )
    .await;
    assert!(streamed.text().contains("[DONE]"), "{}", streamed.text());
    // On the page answers are parsed and drawn, which libraries tell of at trace.
    let conversation = person
        .post("/api/conversations", &json!({"model": "maple-dev"}))
        .await
        .ok(201);
    let path = format!("/api/conversations/{}/messages", conversation["id"].as_str().unwrap());
    let asked = json!({"content": "MARKED-question of a **person**", "render": true});
    let answered = Answer::of(client.request(Method::POST, &path).bearer_auth(&access).json(&asked)).await;
    assert!(answered.text().contains("<strong>"), "{}", answered.text());
    let level = operations
        .request(Method::PUT, "/log-level")
        .bearer_auth("MARKED-not-the-token");
    Answer::of(level.json(&json!({"level": "MARKED"})))
        .await
        .problem(401, "unauthenticated");
    drop(database);
    client.get("/api/health").await;

    let lines = process.lines();
    assert!(lines.len() > 200, "only {} lines at trace", lines.len());
    assert!(lines.iter().any(|line| line.contains("mapleai::security")));
    for line in &lines {
        for secret in &secrets {
            assert!(!line.contains(secret.as_str()), "{secret} in {line}");
        }
    }
}

/// The body that a documented operation takes, with marked secrets wherever a caller could put one: only fields that it
/// knows, since another would end it at the parser.
fn body_of(document: &Value, operation: &Value, known: &Value) -> Option<Value> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    if schema.is_null() {
        return None;
    }
    let reference = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.rsplit('/').next());
    let schema = reference.map_or(schema, |name| &document["components"]["schemas"][name]);
    let Some(properties) = schema["properties"].as_object() else {
        return Some(known.clone());
    };
    let value = |field: &String| (field.clone(), known[field].clone());
    let fields = properties.keys().filter(|field| !known[*field].is_null());
    Some(Value::Object(fields.map(value).collect()))
}

/// Calls every documented route, as who may and as others. Gives the secrets that were handed out.
async fn every_route(client: &Client, operations: &Client, key: &str, invitation: &Value) -> Vec<String> {
    let eve =
        json!({"email": "eve@maple.test", "password": "MARKED-password-of-eve", "name": "Eve", "organization": "Own"});
    let eve = client.post("/api/auth/register", &eve).await.ok(201);
    let access = eve["access_token"].as_str().unwrap();
    let document = client.get("/api/openapi.json").await.ok(200);
    let known = json!({
        "email": "MARKED-mail@maple.test", "password": "MARKED-password-of-eve", "current_password": "MARKED-password-of-eve",
        "name": "MARKED-name", "organization": "MARKED-organization", "token": invitation, "content": "MARKED-prompt",
        "refresh_token": format!("mr_MARKED-{:0>36}", 1), "title": "MARKED-title", "role": "member", "class": "answer",
        "model": "maple-dev", "messages": [{"role": "user", "content": "MARKED-prompt [[mock:tokens=3]]"}],
        "input": "MARKED-input", "share_answers": false,
    });
    let mut secrets = vec![access.to_owned(), eve["refresh_token"].as_str().unwrap().to_owned()];
    let (mut routes, mut done) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if path.contains("logout") {
                continue;
            }
            routes += 1;
            let mut body = body_of(&document, operation, &known);
            if let Some(body) = body.as_mut().filter(|_| path.ends_with("/embeddings")) {
                body["model"] = json!("maple-dev-embed");
            }
            let path = path.replace("{id}", "01890000-0000-7000-8000-000000000000");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            for token in [access, key, "MARKED-token", "mk_MARKED-key"] {
                let reads_query = operation["parameters"]
                    .as_array()
                    .is_some_and(|parameters| parameters.iter().any(|parameter| parameter["in"] == "query"));
                let query = if method == Method::GET || reads_query {
                    ""
                } else {
                    "?secret=MARKED-query"
                };
                let request = client
                    .request(method.clone(), &format!("{path}{query}"))
                    .header("cookie", "maple_session=ms_MARKED-cookie; other=MARKED-other")
                    .header("x-csrf-token", "MARKED-csrf")
                    .header("traceparent", "MARKED-trace")
                    .bearer_auth(token);
                let answer = match &body {
                    Some(body) => Answer::of(request.json(body)).await,
                    None => Answer::of(request).await,
                };
                assert!(
                    ![400, 415, 422].contains(&answer.status.as_u16()),
                    "{method} {path}: {}",
                    answer.text()
                );
                done += usize::from(answer.status.is_success());
                let handed_out = ["access_token", "refresh_token", "token", "key"];
                let given = serde_json::from_str::<Value>(&answer.text()).unwrap_or_default();
                secrets.extend(
                    handed_out
                        .iter()
                        .filter_map(|name| given[name].as_str())
                        .map(str::to_owned),
                );
            }
        }
    }
    assert!(routes > 30 && done > 25, "{done} calls on {routes} routes went well");
    let purge = operations.request(Method::POST, "/cache/purge").bearer_auth(OPS_TOKEN);
    assert_eq!(Answer::of(purge.json(&json!({"class": "answer"}))).await.status, 200);
    secrets
}

/// Sends every form of the pages. Gives the secrets that were handed out.
async fn every_form(client: &Client) -> Vec<String> {
    // The forms there are, from the route table of a server like it.
    let app = TestApp::start().await;
    let mut forms: BTreeSet<String> = app
        .server
        .edge()
        .routes()
        .filter(|route| route.method == Method::POST && matches!(route.access, Access::Page | Access::OpenForm))
        .map(|route| route.path.to_string())
        .collect();
    let send = |path: &str, cookie: &str, fields: &[(&str, &str)]| {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = client
            .request(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", cookie)
            .body(form);
        Answer::of(request)
    };
    let cookie_of = |answer: &Answer| answer.header("set-cookie").split(';').next().unwrap().to_owned();
    let value_of = |cookie: &str| cookie.split_once('=').unwrap().1.to_owned();
    let (email, password) = (
        ("email", "MARKED-form@maple.test"),
        ("password", "MARKED-password-of-eve"),
    );
    let names = [("name", "MARKED-name"), ("organization", "MARKED-organization")];
    let registered = send("/register", "", &[email, password, names[0], names[1]]).await;
    assert_eq!(registered.status, 303, "{}", registered.text());
    let entered = send("/sign-in", "", &[email, password, ("next", "/keys")]).await;
    let cookie = cookie_of(&entered);
    assert_eq!((entered.status.as_u16(), entered.header("location")), (303, "/keys"));
    send("/sign-in", "", &[email, ("password", "MARKED-guess")]).await;
    let page = Answer::of(client.request(Method::GET, "/").header("cookie", &cookie))
        .await
        .text();
    let csrf = page
        .split("name=\"csrf-token\" content=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let csrf_field = ("csrf_token", &*csrf);
    let guest = [csrf_field, ("email", "MARKED-guest@maple.test"), ("role", "member")];
    let invited = send("/settings/invitations", &cookie, &guest).await;
    let carried = cookie_of(&invited);
    let token = value_of(&carried);
    let accepted = send(&format!("/invite/{token}"), "", &[names[0], password]).await;
    assert_eq!(accepted.status, 303, "{}", accepted.text());
    let nobody = "01890000-0000-7000-8000-000000000000";
    for done in ["/register", "/sign-in", "/settings/invitations", "/invite/{token}"] {
        assert!(forms.remove(done), "{done} is no form");
    }
    forms.remove("/sign-out");
    // Last, since the browser is given another cookie with it.
    assert!(forms.remove("/settings/password"));
    for form in forms.iter().map(String::as_str).chain(["/settings/password"]) {
        let fields = [
            csrf_field,
            names[0],
            ("current_password", "MARKED-password-of-eve"),
            ("password", "MARKED-another-password-of-eve"),
            ("role", "member"),
            ("share", "false"),
        ];
        let answer = send(&form.replace("{id}", nobody), &cookie, &fields).await;
        let expected = if form.contains("{id}") { 404 } else { 303 };
        assert_eq!(answer.status, expected, "{form}: {}", answer.text());
    }
    let cookie = cookie_of(&send("/sign-in", "", &[email, ("password", "MARKED-another-password-of-eve")]).await);
    let both = format!("{cookie}; {carried}");
    Answer::of(
        client
            .request(Method::GET, "/settings?fault=MARKED-fault")
            .header("cookie", both),
    )
    .await;
    send("/sign-out", &cookie, &[csrf_field]).await;
    vec![
        value_of(&cookie),
        value_of(&cookie_of(&registered)),
        value_of(&cookie_of(&accepted)),
        token,
        csrf,
    ]
}
