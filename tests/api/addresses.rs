//! Addresses that are nearly right, and model ids that look like paths.

use http::Method;
use serde_json::json;

use crate::support::{Answer, Client, TestApp, accounts::register};

/// ollama/ollama #10139: not every package escapes the slash of a model's id.
#[tokio::test]
async fn models_with_a_slash_are_found_in_both_spellings() {
    let app = TestApp::start_with(|config| {
        let mut model = config.models[0].clone();
        for id in ["vendor/llama-3.1:free", "vendor/a/b@v1"] {
            id.clone_into(&mut model.id);
            config.models.push(model.clone());
        }
    })
    .await;
    let program = register(&app).await.program().await;
    for (path, id) in [
        ("vendor/llama-3.1:free", "vendor/llama-3.1:free"),
        ("vendor%2Fllama-3.1:free", "vendor/llama-3.1:free"),
        ("vendor%2fa/b%40v1", "vendor/a/b@v1"),
        ("maple-chat", "maple-chat"),
    ] {
        assert_eq!(program.get(&format!("/v1/models/{path}")).await.ok(200)["id"], id);
    }
    program
        .get("/v1/models/vendor/none")
        .await
        .openai_error(404, "model_not_found");
    let documented = app.client.get("/api/openapi.json").await.ok(200);
    assert!(documented["paths"]["/v1/models/{id}"]["get"].is_object());
}

/// open-webui #16749, BerriAI/litellm #8350: base URLs are typed by people.
#[tokio::test]
async fn a_program_at_a_wrong_path_is_told_the_right_one_and_never_shown_a_page() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    let ask = json!({"model": "maple-chat", "messages": []});
    for (path, meant) in [
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/embeddings", "/v1/embeddings"),
        ("/embeddings", "/v1/embeddings"),
    ] {
        let error = program.post(path, &ask).await.openai_error(404, "not_found");
        assert!(error["message"].as_str().unwrap().contains(meant), "{path}: {error}");
    }
    for path in ["/v1/models/", "//v1/models", "/models"] {
        let error = program.get(path).await.openai_error(404, "not_found");
        assert!(
            error["message"].as_str().unwrap().contains("/v1/models"),
            "{path}: {error}"
        );
    }
    program.get("/v1/nothing").await.openai_error(404, "not_found");
    assert_eq!(
        Answer::of(program.request(Method::HEAD, "/v1/models")).await.status,
        200
    );
    assert_eq!(app.upstream.calls().len(), 0);
    // Whatever it accepts: clients' libraries send what browsers do, or anything.
    for accept in [
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "*/*",
        "application/json",
        "text/event-stream",
    ] {
        let ask = |client: &Client, method: &Method, path: &str| {
            Answer::of(client.request(method.clone(), path).header("accept", accept))
        };
        for method in [Method::GET, Method::POST, Method::DELETE, Method::PUT] {
            for path in [
                "/v1",
                "/v1/",
                "/v1/nothing",
                "/v1/models/x/../y/",
                "/chat/completions",
                "/v2/chat/completions",
            ] {
                for client in [&program, &app.client] {
                    let answer = ask(client, &method, path).await;
                    assert!(matches!(answer.status.as_u16(), 401 | 404 | 405), "{method} {path}");
                    assert_eq!(
                        answer.header("content-type"),
                        "application/json",
                        "{method} {path} {accept}"
                    );
                    assert!(
                        answer.json()["error"]["message"].is_string(),
                        "{method} {path} {accept}"
                    );
                }
            }
            for path in [
                "/v1chat",
                "/v2/models/x",
                "/responses",
                "/openai/deployments/x/chat",
                "/nothing",
            ] {
                ask(&program, &method, path).await.openai_error(404, "not_found");
            }
            for path in ["/api", "/api/", "/api/nothing", "/api/v2/models"] {
                for client in [&program, &app.client] {
                    ask(client, &method, path).await.problem(404, "not_found");
                }
            }
            let person = app.client.with("a-token-of-another-kind");
            ask(&person, &method, "/apinothing").await.problem(404, "not_found");
        }
        for path in ["/v1/chat/completions", "/v1/embeddings"] {
            ask(&program, &Method::DELETE, path)
                .await
                .openai_error(405, "method_not_allowed");
        }
        ask(&program, &Method::DELETE, "/api/auth/login")
            .await
            .problem(405, "method_not_allowed");
    }
    // A browser is shown a page.
    let browser = app.client.request(Method::GET, "/nothing");
    let page = Answer::of(browser.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")).await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (404, "text/html; charset=utf-8")
    );
}
