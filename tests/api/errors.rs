//! What bad input gets, and the exact form of it.

use std::time::Duration;

use http::Method;
use insta::assert_snapshot;
use serde_json::json;

use crate::support::{
    Answer, TestApp,
    accounts::{Browser, register},
    soon,
};

/// The body as it goes out, with the one part that differs each time made equal.
fn wire(answer: &Answer) -> String {
    answer.text().replace(answer.header("x-request-id"), "[id]")
}

#[tokio::test]
async fn malformed_json_is_a_bad_request() {
    let app = TestApp::start().await;
    for body in [
        "{",
        "",
        "{\"email\": }",
        r#"{"email":"a","password":"b"} trailing"#,
        "\u{feff}{}",
    ] {
        app.client
            .post_raw("/api/auth/login", body)
            .await
            .problem(400, "invalid_json");
    }
    let answer = app.client.post_raw("/api/auth/login", "{").await;
    assert_snapshot!(wire(&answer), @r#"{"type":"about:blank","title":"Bad Request","status":400,"code":"invalid_json","detail":"The body is not valid JSON: EOF while parsing an object at line 1 column 1.","request_id":"[id]"}"#);
}

#[tokio::test]
async fn a_wrong_type_is_unprocessable_and_names_its_field() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    for (path, body, field) in [
        ("/api/auth/login", json!({"email": 7, "password": "x"}), "email"),
        ("/api/auth/login", json!({"email": "a@b.test"}), "password"),
        (
            "/api/auth/login",
            json!({"email": "a@b.test", "password": "x", "otp": 1}),
            "otp",
        ),
        ("/api/auth/login", json!(7), "body"),
        (
            "/api/keys",
            json!({"name": "x", "expires_at": "tomorrow"}),
            "expires_at",
        ),
        ("/api/invitations", json!({"email": "a@b.test", "role": "root"}), "role"),
        ("/api/conversations", json!({"title": false}), "title"),
    ] {
        let problem = ada.client.post(path, &body).await.problem(422, "invalid_fields");
        assert_eq!(problem["errors"][0]["field"], field, "{path} {body}: {problem}");
        assert!(
            !problem.to_string().contains(" line "),
            "a position helps nobody: {problem}"
        );
    }
    let answer = app
        .client
        .post("/api/auth/login", &json!({"email": 7, "password": "x"}))
        .await;
    assert_snapshot!(wire(&answer), @r#"{"type":"about:blank","title":"Unprocessable Entity","status":422,"code":"invalid_fields","detail":"These fields were refused: email.","request_id":"[id]","errors":[{"field":"email","message":"invalid type: integer `7`, expected a string"}]}"#);
}

#[tokio::test]
async fn the_content_type_must_be_json() {
    let app = TestApp::start().await;
    let send = |content_type: Option<&'static str>| {
        let request = app
            .client
            .request(Method::POST, "/api/auth/login")
            .body("{\"email\":\"a@b.test\",\"password\":\"x\"}");
        Answer::of(match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        })
    };
    for wrong in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonx"),
    ] {
        send(wrong).await.problem(415, "unsupported_media_type");
    }
    for right in [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/vnd.maple+json",
    ] {
        send(Some(right)).await.problem(401, "invalid_credentials");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_too_large() {
    let app = TestApp::start().await;
    let limit = app.config.server.body_limit;
    let padded = |length: usize| {
        let frame = json!({"email": "", "password": "x"}).to_string().len();
        json!({"email": "a".repeat(length - frame), "password": "x"}).to_string()
    };
    assert_eq!(padded(limit).len(), limit);
    app.client
        .post_raw("/api/auth/login", padded(limit))
        .await
        .problem(401, "invalid_credentials");
    app.client
        .post_raw("/api/auth/login", padded(limit + 1))
        .await
        .problem(413, "payload_too_large");
    // Without a length that would give it away.
    let chunks = (0..40).map(|_| Ok::<_, std::io::Error>("x".repeat(4096)));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    app.client
        .post_raw("/api/auth/login", body)
        .await
        .problem(413, "payload_too_large");
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let app = TestApp::start().await;
    // In between it depends on how the head comes: what a read brings beyond the limit is looked at all the same.
    for (length, status) in [(16 * 1024, 200), (30 * 1024, 200), (64 * 1024, 431)] {
        let request = app.client.request(Method::GET, "/api/models");
        let answer = request.header("x-padding", "x".repeat(length)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{length} bytes");
    }
}

#[tokio::test]
async fn request_ids_come_back() {
    let app = TestApp::start().await;
    let with_id = |path: &str, id: &str| Answer::of(app.client.request(Method::GET, path).header("x-request-id", id));
    assert_eq!(
        with_id("/api/models", "my-id-42").await.header("x-request-id"),
        "my-id-42"
    );
    let problem = with_id("/api/users/me", "my-id-43")
        .await
        .problem(401, "unauthenticated");
    assert_eq!(problem["request_id"], "my-id-43");
    assert_eq!(
        with_id("/v1/models", "my-id-44").await.header("x-request-id"),
        "my-id-44"
    );
    for bad in ["<script>", "a b", &"x".repeat(200)] {
        let given = with_id("/api/models", bad).await.header("x-request-id").to_owned();
        assert!(given != *bad && given.len() == 36, "{given}");
    }
    let (one, two) = (app.client.get("/api/models").await, app.client.get("/api/models").await);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
}

#[tokio::test]
async fn the_openai_envelope_is_openais() {
    let app = TestApp::start().await;
    let answer = app.client.with("mk_wrong").get("/v1/models").await;
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    assert_snapshot!(wire(&answer), @r#"{"error":{"message":"The API key is not valid: unknown, revoked or expired.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#);
    let program = register(&app).await.program().await;
    let answer = program
        .post("/v1/chat/completions", &json!({"model": "gpt-99", "messages": []}))
        .await;
    assert_snapshot!(wire(&answer), @r#"{"error":{"message":"the model `gpt-99` does not exist. GET /v1/models lists those there are.","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#);
    // A caller's text in a message is bounded.
    let long = json!({"model": "x".repeat(10_000), "messages": []});
    assert!(program.post("/v1/chat/completions", &long).await.body.len() < 1_000);
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let app = TestApp::start().await;
    for path in ["/sign-in", "/nothing", "/api/models", "/api/users/me", "/api/nothing"] {
        let answer = app.client.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        assert!(!answer.header("cache-control").is_empty(), "{path}");
        assert_eq!(
            answer.header("strict-transport-security"),
            "",
            "this server is not behind https"
        );
    }
    let https = TestApp::start_with(|config| config.server.public_url = "https://maple.test".parse().unwrap()).await;
    assert!(
        https
            .client
            .get("/sign-in")
            .await
            .header("strict-transport-security")
            .starts_with("max-age=")
    );
}

#[tokio::test]
async fn only_configured_origins_may_call_from_a_browser() {
    let app =
        TestApp::start_with(|config| config.server.cors_origins = vec!["https://app.maple.test".to_owned()]).await;
    let preflight = |origin: &'static str| {
        let request = app
            .client
            .request(Method::OPTIONS, "/v1/chat/completions")
            .header("origin", origin);
        // As OpenAI's own package asks in a browser.
        let headers = "authorization,cache-control,content-type,x-stainless-lang,x-stainless-retry-count";
        let request = request.header("access-control-request-headers", headers);
        Answer::of(request.header("access-control-request-method", "POST"))
    };
    let allowed = preflight("https://app.maple.test").await;
    assert_eq!(allowed.header("access-control-allow-origin"), "https://app.maple.test");
    assert!(
        allowed
            .header("access-control-allow-headers")
            .contains("x-stainless-retry-count")
    );
    assert_eq!(allowed.header("access-control-allow-credentials"), "");
    let request = app.client.request(Method::GET, "/api/models");
    let answer = Answer::of(request.header("origin", "https://app.maple.test")).await;
    assert!(answer.header("access-control-expose-headers").contains("x-maple-cache"));
    assert_eq!(
        preflight("https://evil.test")
            .await
            .header("access-control-allow-origin"),
        ""
    );
}

/// All routes that read a body, by the document and the table, with one of 65 KiB.
#[tokio::test]
async fn only_calls_to_models_and_questions_may_be_large() {
    let app = TestApp::start_with(|config| config.server.body_limit = 1024 * 1024).await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    let padding = "x".repeat(65 * 1024);
    let document = app.client.get("/api/openapi.json").await.ok(200);
    let (mut small, mut large) = (0, 0);
    for route in app.server.edge().routes() {
        let (method, template) = (&route.method, &*route.path);
        let id = "0190a0a0-0000-7000-8000-000000000000";
        let path = template.replace("{id}", id).replace("{token}", id);
        let operation = &document["paths"][template][method.as_str().to_lowercase()];
        let request = app.client.request(method.clone(), &path);
        let answer = if !operation["requestBody"].is_null() {
            let body = json!({ "padding": padding }).to_string();
            let request = request.bearer_auth(&ada.access_token);
            Answer::of(request.header("content-type", "application/json").body(body)).await
        } else if operation.is_null() && method == Method::POST {
            let request = request.header("cookie", &browser.cookie);
            let body = format!("padding={padding}");
            Answer::of(
                request
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body),
            )
            .await
        } else {
            continue;
        };
        let may_be_large = template.starts_with("/v1/") || template.ends_with("/messages");
        assert_eq!(
            answer.status != 413,
            may_be_large,
            "{method} {template}: {}",
            answer.text()
        );
        if may_be_large {
            large += 1;
        } else {
            assert!(
                answer.text().contains("65536 bytes"),
                "{method} {template}: {}",
                answer.text()
            );
            small += 1;
        }
    }
    assert!(large == 3 && small >= 18, "{large} large and {small} small");
}

/// The gate reads a page's form before the route's own time limit begins.
#[tokio::test]
async fn a_form_that_does_not_end_is_given_up() {
    let patient = TestApp::start().await;
    let ada = register(&patient).await;
    let browser = Browser::sign_in(&patient, &ada).await;
    // Its time is not enough for a sign-in on a busy machine.
    let mut config = patient.config.clone();
    config.server.request_timeout = Duration::from_millis(300);
    let app = TestApp::start_on(
        secrecy::ExposeSecret::expose_secret(&patient.config.database.url),
        |given| *given = config,
    )
    .await;
    let dripping = || {
        let chunks = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::io::Error>("x"), ()))
        });
        reqwest::Body::wrap_stream(chunks)
    };
    for (path, status) in [("/settings/profile", 408), ("/sign-in", 503)] {
        let request = app
            .client
            .request(Method::POST, path)
            .header("cookie", &browser.cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(dripping());
        let answer = soon("an answer", Answer::of(request)).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
}
