//! The process as a whole: its log, its signals, and what never reaches the one or survives the other.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use http::Method;
use mapleai::auth::access::Access;
use serde_json::{Value, json};

use crate::support::{
    Answer, Client, TestApp, database::TestDatabase, eventually, postgres::Postgres, process::Process, redis::Redis,
};

const OPS_TOKEN: &str = "MARKED-operations-token-0123456789abcdef";
const SIGNING_KEY: &str = "MARKED-signing-key-0123456789abcdefghijk";

fn staging(database: &str) -> Vec<(&'static str, String)> {
    vec![
        ("MAPLE_ENV", "staging".to_owned()),
        ("DATABASE_URL", database.to_owned()),
        ("MAPLE__SERVER__HOST", "127.0.0.1".to_owned()),
        ("MAPLE__SERVER__PUBLIC_URL", "https://maple.test".to_owned()),
        ("MAPLE__SERVER__OPS_TOKEN", OPS_TOKEN.to_owned()),
        ("MAPLE__SERVER__DRAIN_DELAY", "0s".to_owned()),
        ("MAPLE__AUTH__SIGNING_KEYS__K", SIGNING_KEY.to_owned()),
        ("MAPLE__AUTH__ACTIVE_KEY", "k".to_owned()),
        ("MAPLE__LOG__FILE", String::new()),
    ]
}

fn start(variables: &[(&'static str, String)]) -> Process {
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Process::start(&variables)
}

fn development(database: &str) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", database.to_owned()),
        ("MAPLE__SERVER__OPS_TOKEN", OPS_TOKEN.to_owned()),
        ("MAPLE__LOG__LEVEL", "trace".to_owned()),
        ("MAPLE__AUTH__SIGNING_KEYS__K", SIGNING_KEY.to_owned()),
        ("MAPLE__AUTH__ACTIVE_KEY", "k".to_owned()),
    ]
}

async fn register(client: &Client) -> (String, String) {
    let body = json!({"email": "ada@maple.test", "password": "MARKED-password-of-ada", "name": "Ada", "organization": "Maple"});
    let made = client.post("/api/auth/register", &body).await.ok(201);
    let token = |name: &str| made[name].as_str().unwrap().to_owned();
    (token("access_token"), token("refresh_token"))
}

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
    let eve = json!({"email": "eve@maple.test", "password": "MARKED-password", "name": "Eve", "organization": "Own"});
    let eve = client.post("/api/auth/register", &eve).await.ok(201);
    let access = eve["access_token"].as_str().unwrap();
    let document = client.get("/api/openapi.json").await.ok(200);
    let known = json!({
        "email": "MARKED-mail@maple.test", "password": "MARKED-password", "current_password": "MARKED-password",
        "name": "MARKED-name", "organization": "MARKED-organization", "token": invitation, "content": "MARKED-prompt",
        "refresh_token": format!("mr_MARKED-{:0>36}", 1), "title": "MARKED-title", "role": "member", "class": "answer",
        "model": "maple-dev", "messages": [{"role": "user", "content": "MARKED-prompt [[mock:tokens=3]]"}],
        "input": "MARKED-input",
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
                let query = if method == Method::GET {
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
    let (email, password) = (("email", "MARKED-form@maple.test"), ("password", "MARKED-password"));
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
    for form in &forms {
        let fields = [
            csrf_field,
            names[0],
            ("current_password", "MARKED-password"),
            ("password", "MARKED-another-password"),
            ("role", "member"),
        ];
        let answer = send(&form.replace("{id}", nobody), &cookie, &fields).await;
        let expected = if form.contains("{id}") { 404 } else { 303 };
        assert_eq!(answer.status, expected, "{form}: {}", answer.text());
    }
    let both = format!("{cookie}; {carried}");
    Answer::of(
        client
            .request(Method::GET, "/settings?fault=MARKED-fault")
            .header("cookie", both),
    )
    .await;
    assert_eq!(send("/sign-out", &cookie, &[csrf_field]).await.status, 303);
    vec![
        value_of(&cookie),
        value_of(&cookie_of(&registered)),
        value_of(&cookie_of(&accepted)),
        token,
        csrf,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_has_the_schema_and_says_whose_request_it_was() {
    let database = TestDatabase::create().await;
    let process = start(&staging(&database.url));
    let (client, _) = process.ready().await;
    let (access, _) = register(&client).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = client
        .request(Method::GET, "/api/users/me")
        .header("x-request-id", "the-request")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .bearer_auth(&access);
    let me = Answer::of(request).await.ok(200);
    let line = eventually("the request's line", || async {
        process
            .lines()
            .iter()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|line| line["request_id"] == "the-request" && line["message"] == "request answered")
    })
    .await;
    assert_eq!(line["trace_id"], trace);
    assert_eq!(
        (&line["route"], &line["method"], &line["status"]),
        (&json!("/api/users/me"), &json!("GET"), &json!(200))
    );
    assert_eq!(line["user_id"], me["id"]);
    assert!(
        line["organization_id"].is_string() && line["duration_ms"].is_u64(),
        "{line}"
    );
    for line in process.lines() {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        for field in ["time", "level", "target", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_can_be_changed_while_it_runs() {
    let database = TestDatabase::create().await;
    let mut variables = staging(&database.url);
    variables.push(("MAPLE__LOG__LEVEL", "error".to_owned()));
    let process = start(&variables);
    let (client, operations) = process.ready().await;
    let answered = |process: &Process| process.lines().iter().any(|line| line.contains("request answered"));
    client.get("/api/models").await.ok(200);
    let put = |body: serde_json::Value| {
        operations
            .request(Method::PUT, "/log-level")
            .bearer_auth(OPS_TOKEN)
            .json(&body)
    };
    Answer::of(put(json!({"level": "loud"})))
        .await
        .problem(422, "invalid_fields");
    assert!(!answered(&process));
    let changed = Answer::of(put(json!({"level": "info", "for": "1s"}))).await.ok(200);
    assert_eq!(
        (&changed["level"], &changed["configured"]),
        (&json!("info"), &json!("error"))
    );
    client.get("/api/models").await.ok(200);
    eventually("a line", || async { answered(&process).then_some(()) }).await;
    eventually("the old level", || async {
        let level = operations.get("/log-level").await.ok(200);
        (level["level"] == "error").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staging_logs_to_a_file_and_goes_on_where_it_cannot() {
    let database = TestDatabase::create().await;
    let mut variables = staging(&database.url);
    variables.retain(|(name, _)| *name != "MAPLE__LOG__FILE");
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("deep/in/maple.log");
    variables.push(("MAPLE__LOG__FILE", file.to_str().unwrap().to_owned()));
    variables.push(("PORT", "0".to_owned()));
    let process = start(&variables);
    let log = eventually("the log file", || async {
        let folder = fs::read_dir(file.parent().unwrap()).ok()?;
        let text: String = folder
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        text.contains("\"listening\"").then_some(text)
    })
    .await;
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
    assert!(process.lines().is_empty(), "{:?}", process.lines());

    // A folder that cannot be: the log goes to standard output, and says so.
    variables.retain(|(name, _)| *name != "MAPLE__LOG__FILE");
    variables.push(("MAPLE__LOG__FILE", "/dev/null/maple.log".to_owned()));
    let process = start(&variables);
    process.ready().await;
    process
        .line("the log file cannot be written; the log goes to standard output")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once() {
    let database = TestDatabase::create().await;
    let mut variables = staging(&database.url);
    variables.push(("MAPLE__SERVER__DRAIN_DELAY", "30s".to_owned()));
    let mut process = start(&variables);
    let (client, _) = process.ready().await;
    process.signal("TERM");
    process
        .line("stopping: readiness says no, connections are still accepted")
        .await;
    assert_eq!(client.get("/api/ready").await.status, 503);
    client.get("/api/models").await.ok(200);
    let asked = Instant::now();
    process.signal("INT");
    let status = process.ended(Duration::from_secs(2)).await;
    assert_eq!(status.code(), Some(130), "after {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_for_its_database_and_stops_when_told_while_waiting() {
    let mut postgres = Postgres::start().await;
    postgres.kill();
    let mut process = start(&staging(&postgres.url()));
    let (client, operations) = process.clients().await;
    let waiting = process.line("waiting for the database").await;
    assert_eq!(waiting["limit_seconds"], 300);
    for client in [&client, &operations] {
        client.get("/api/health?probe=liveness").await.ok(200);
        assert_eq!(client.get("/api/ready").await.status, 503);
    }
    postgres.bring_back().await;
    process.ready().await;
    process.signal("TERM");
    assert_eq!(process.ended(Duration::from_secs(15)).await.code(), Some(0));

    postgres.kill();
    let mut process = start(&staging(&postgres.url()));
    process.line("waiting for the database").await;
    process.signal("TERM");
    assert_eq!(process.ended(Duration::from_secs(15)).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_told_to_be_away_only_if_it_is() {
    const AWAY: &str = "Redis, or a part of it, does not answer; going on without";
    let database = TestDatabase::create().await;
    let mut redis = Redis::start().await;
    let mut variables = development(&database.url);
    variables.push(("REDIS_URL", redis.url()));
    let process = start(&variables);
    let (client, _) = process.ready().await;
    process.line("warm").await;
    assert!(
        !process.lines().iter().any(|line| line.contains(AWAY)),
        "a start with a Redis that is there"
    );
    redis.kill();
    let (access, _) = register(&client).await;
    client.with(&access).get("/api/users/me").await.ok(200);
    process.line(AWAY).await;

    let started_without = start(&variables);
    started_without.line(AWAY).await;
}
