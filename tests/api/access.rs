//! Nothing but the open routes answers without credentials. Taken from the router's own table, so that a new route is
//! tested the day it is added.

use std::collections::BTreeSet;

use http::Method;
use mapleai::auth::access::Access;

use crate::support::{
    Answer, TestApp,
    accounts::{Browser, PASSWORD, register},
    app::OPS_TOKEN,
};

/// Everything that anybody may call. Whoever adds to it must say so here.
const OPEN: &[&str] = &[
    "GET /api/docs",
    "GET /api/health",
    "GET /api/models",
    "GET /api/openapi.json",
    "GET /api/ready",
    "GET /assets/{name}",
    "GET /invite/{token}",
    "GET /register",
    "GET /sign-in",
    "POST /api/auth/login",
    "POST /api/auth/refresh",
    "POST /api/auth/register",
    "POST /api/invitations/accept",
    "POST /invite/{token}",
    "POST /register",
    "POST /sign-in",
];

/// Every route: method, template, access.
fn table(app: &TestApp) -> Vec<(Method, String, Access)> {
    let routes = app.server.edge().routes();
    let mut table: Vec<_> = routes
        .map(|route| (route.method.clone(), route.path.to_string(), route.access))
        .collect();
    table.sort_by_key(|(method, path, _)| format!("{path} {method}"));
    assert!(table.len() > 40, "only {} routes", table.len());
    table
}

/// A path that the template matches.
fn example(template: &str) -> String {
    let fill = |part: &str| match part {
        "{id}" => "0190a0a0-0000-7000-8000-000000000000".to_owned(),
        part if part.starts_with('{') => "nothing".to_owned(),
        part => part.to_owned(),
    };
    template.split('/').map(fill).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_open_list_is_the_tables_own() {
    // As in production, where `/metrics` is for operations alone.
    let app = TestApp::start_with(|config| {
        config.environment = configuration::Environment::Production;
        config.server.public_metrics = false;
    })
    .await;
    let open: BTreeSet<String> = table(&app)
        .iter()
        .filter(|(.., access)| matches!(access, Access::Open | Access::OpenForm | Access::Probe))
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    let expected: BTreeSet<String> = OPEN.iter().map(|route| (*route).to_owned()).collect();
    assert_eq!(open, expected);
}

#[tokio::test]
async fn every_other_route_refuses_callers_without_good_credentials() {
    let app = TestApp::start_with(|config| config.environment = configuration::Environment::Production).await;
    let closed: Vec<_> = table(&app)
        .into_iter()
        .filter(|(.., access)| !matches!(access, Access::Open | Access::OpenForm | Access::Probe))
        .collect();
    assert!(closed.len() > 25, "only {} closed routes", closed.len());
    // Well-formed, and signed by somebody else.
    let forged = "eyJhbGciOiJIUzI1NiIsImtpZCI6InRlc3QifQ.eyJzdWIiOiIwMTkwIiwiZXhwIjo5OTk5OTk5OTk5fQ.c2lnbmVkLWJ5LWV2ZQ";
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIwMTkwIiwiZXhwIjo5OTk5OTk5OTk5fQ.";
    let junk_cookie = format!("maple_session=ms_{}", "A".repeat(43));
    let junk_key = format!("mk_{}", "A".repeat(43));
    for (method, template, access) in closed {
        let path = example(&template);
        let request = || {
            app.client
                .request(method.clone(), &path)
                .header("content-type", "application/json")
        };
        for (kind, request) in [
            ("none", request()),
            ("an empty token", request().header("authorization", "Bearer ")),
            ("basic", request().basic_auth("ada", Some("pw"))),
            ("junk", request().bearer_auth("junk")),
            ("a forged token", request().bearer_auth(forged)),
            ("an unsigned token", request().bearer_auth(unsigned)),
            ("an unknown key", request().bearer_auth(&junk_key)),
            ("an unknown cookie", request().header("cookie", &junk_cookie)),
            ("a junk cookie", request().header("cookie", "maple_session=x")),
        ] {
            let answer = Answer::of(request.body("{}")).await;
            let what = format!(
                "{method} {path} ({access:?}) with {kind}: {} {}",
                answer.status,
                answer.text()
            );
            if access == Access::Page {
                assert_eq!(answer.status, 303, "{what}");
                let back = mapleai::web::next::sign_in_url(&path).filter(|_| method == Method::GET);
                let target = back.as_deref().unwrap_or("/sign-in");
                assert_eq!(answer.header("location"), target, "{what}");
            } else {
                assert_eq!(answer.status, 401, "{what}");
                assert_eq!(answer.header("www-authenticate"), "Bearer", "{what}");
            }
        }
    }
}

#[tokio::test]
async fn only_the_operations_token_shows_more_of_a_probe() {
    let app = TestApp::start_with(|config| config.environment = configuration::Environment::Production).await;
    let ada = register(&app).await;
    let (_, key) = ada.create_key().await;
    for token in [&*ada.access_token, &*key, "", "wrong"] {
        let answer = Answer::of(app.client.request(Method::GET, "/api/health").bearer_auth(token)).await;
        let body = answer.ok(200);
        assert!(body.get("version").is_none(), "{body}");
        assert!(
            body["checks"]["database_connection"].get("components").is_none(),
            "{body}"
        );
    }
    let answer = Answer::of(app.client.request(Method::GET, "/api/health").bearer_auth(OPS_TOKEN)).await;
    let components = &answer.ok(200)["checks"]["database_connection"]["components"];
    assert_eq!(components["primary"]["status"], "pass");
}

#[tokio::test]
async fn a_cookie_alone_changes_nothing() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let form = [("email", &*ada.email), ("password", PASSWORD)];
    let sign_in = |site: &'static str| {
        let request = app
            .client
            .request(Method::POST, "/sign-in")
            .header("sec-fetch-site", site);
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        Answer::of(
            request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form),
        )
    };
    assert_eq!(sign_in("cross-site").await.status, 403);
    let signed_in = sign_in("same-origin").await;
    assert_eq!(signed_in.status, 303, "{}", signed_in.text());
    let cookie = signed_in.header("set-cookie");
    for attribute in ["maple_session=ms_", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }

    let browser = Browser::sign_in(&app, &ada).await;
    let with_cookie = |method, path: &str| app.client.request(method, path).header("cookie", &browser.cookie);
    Answer::of(with_cookie(Method::GET, "/api/users/me")).await.ok(200);
    let body = serde_json::json!({"name": "forged"});
    Answer::of(with_cookie(Method::POST, "/api/keys").json(&body))
        .await
        .problem(403, "csrf_failed");
    let guess = with_cookie(Method::POST, "/api/keys").header("x-csrf-token", "guess");
    Answer::of(guess.json(&body)).await.problem(403, "csrf_failed");
    // Another person's token is no better.
    let eve = register(&app).await;
    let eves = Browser::sign_in(&app, &eve).await;
    let theirs = with_cookie(Method::POST, "/api/keys").header("x-csrf-token", &eves.csrf_token);
    Answer::of(theirs.json(&body)).await.problem(403, "csrf_failed");
    let honest = with_cookie(Method::POST, "/api/keys").header("x-csrf-token", &browser.csrf_token);
    Answer::of(honest.json(&body)).await.ok(201);
    // Forms carry it in a field.
    assert_eq!(
        browser
            .submit("/settings/profile", &[("name", "Ada King")])
            .await
            .status,
        303
    );
    let unsigned =
        with_cookie(Method::POST, "/settings/profile").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(Answer::of(unsigned.body("name=Eve")).await.status, 403);
    assert_eq!(ada.client.get("/api/users/me").await.ok(200)["name"], "Ada King");
    // The cookie is for people's pages, not for programs.
    Answer::of(with_cookie(Method::GET, "/v1/models"))
        .await
        .openai_error(401, "invalid_api_key");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_in_their_dialect() {
    let app = TestApp::start().await;
    app.client.get("/api/nothing").await.problem(404, "not_found");
    app.client.get("/v1/nothing").await.openai_error(404, "not_found");
    app.client
        .delete("/api/auth/login")
        .await
        .problem(405, "method_not_allowed");
    app.client
        .delete("/v1/chat/completions")
        .await
        .openai_error(405, "method_not_allowed");
    // A page is for those who say that they want one.
    let ask = |method: Method, path: &str, accept: &'static str| {
        let request = app.client.request(method, path).header("accept", accept);
        async move { Answer::of(request).await }
    };
    for (method, path, status) in [
        (Method::GET, "/nothing", 404),
        (Method::GET, "/apinothing", 404),
        (Method::GET, "/v1nothing", 404),
        (Method::DELETE, "/sign-in", 405),
    ] {
        let page = ask(method.clone(), path, "text/html,application/xhtml+xml,*/*;q=0.8").await;
        assert_eq!(page.status, status);
        assert!(
            page.header("content-type").starts_with("text/html"),
            "{path}: {}",
            page.text()
        );
        let code = if status == 404 {
            "not_found"
        } else {
            "method_not_allowed"
        };
        ask(method, path, "*/*").await.problem(status, code);
    }
}
