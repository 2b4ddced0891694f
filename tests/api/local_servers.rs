//! Model servers that run on this machine already.

use std::process::Command;

use configuration::{LocalProduct, LocalServer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, FakeUpstream, Reply, TestApp, accounts::register, app::OPS_TOKEN};

const OLLAMA: &str = "Ollama is running";

/// Answers one look as Ollama does.
fn as_ollama(upstream: &FakeUpstream, models: &Value) -> u16 {
    upstream.reply(Reply::json(200, &json!({ "models": models })));
    upstream.reply(Reply::whole(200, &[("content-type", "text/plain")], OLLAMA));
    port_of(upstream)
}

fn port_of(upstream: &FakeUpstream) -> u16 {
    let url: url::Url = upstream.base_url().parse().unwrap();
    url.port().unwrap()
}

fn ollama_at(port: u16) -> LocalServer {
    let product = LocalProduct::Ollama;
    LocalServer { product, port }
}

/// What `mapleai local-servers` prints.
async fn printed(variables: Vec<(&'static str, String)>) -> String {
    let blocking = move || {
        let folder = tempfile::tempdir().unwrap();
        Command::new(env!("CARGO_BIN_EXE_mapleai"))
            .arg("local-servers")
            .current_dir(folder.path())
            .env_clear()
            .env("MAPLE__LOCAL__LOOK_TIMEOUT", "20s")
            .envs(variables)
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(blocking).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_server_that_is_found_answers_as_a_free_provider_and_what_is_configured_goes_first() {
    let neighbour = FakeUpstream::start().await;
    let models = json!([{"name": "llama3.2:1b"}, {"name": "same-name"}, {"name": "gpt-oss:120b-cloud"}, {"name": "nomic-embed-text"}]);
    let port = as_ollama(&neighbour, &models);
    let app = TestApp::start_with(|config| config.local.servers = vec![ollama_at(port)]).await;
    let looks = neighbour.calls();
    let paths: Vec<_> = looks.iter().map(|call| call.path.as_str()).collect();
    assert_eq!(paths, ["/api/tags", "/"]);

    let person = register(&app).await;
    let listed = app.client.get("/api/models").await.ok(200);
    let shown: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|model| model["name"].as_str().unwrap().ends_with("(on this machine)"))
        .map(|model| (model["name"].as_str().unwrap(), model["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            ("llama3.2:1b (on this machine)", "chat"),
            ("nomic-embed-text (on this machine)", "embedding"),
        ]
    );
    let program = person.program().await;
    let ask = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
    program.post("/v1/chat/completions", &ask("llama3.2:1b")).await.ok(200);
    program.post("/v1/chat/completions", &ask("same-name")).await.ok(200);
    program
        .post("/v1/chat/completions", &ask("gpt-oss:120b-cloud"))
        .await
        .openai_error(404, "model_not_found");
    let calls = neighbour.calls();
    assert_eq!(calls.len(), looks.len() + 1, "{calls:?}");
    let call = calls.last().unwrap();
    assert_eq!(
        (call.path.as_str(), call.header("authorization")),
        ("/v1/chat/completions", "")
    );
    assert_eq!(call.json()["model"], "llama3.2:1b");
    assert_eq!(app.upstream.only_call().json()["model"], "same-name");
    let owned = program.get("/v1/models/llama3.2:1b").await.ok(200);
    assert_eq!(owned["owned_by"], "ollama");
    let health = app.client.request(Method::GET, "/api/health").bearer_auth(OPS_TOKEN);
    let health = Answer::of(health).await.ok(200).to_string();
    assert!(health.contains("ollama"), "{health}");
}

#[tokio::test]
async fn a_server_that_the_configuration_has_a_provider_for_is_not_looked_for() {
    let neighbour = FakeUpstream::start().await;
    let port = as_ollama(&neighbour, &json!([{"name": "llama3.2:1b"}]));
    let by_name = TestApp::start_with(|config| {
        let fake = config.providers["fake"].clone();
        config.providers.insert("ollama".to_owned(), fake);
        config.local.servers = vec![ollama_at(port)];
    })
    .await;
    let by_port = TestApp::start_with(|config| {
        let mut own = config.providers["fake"].clone();
        own.base_url = format!("http://localhost:{port}/v1").parse().ok();
        config.providers.insert("own".to_owned(), own);
        config.local.servers = vec![ollama_at(port)];
    })
    .await;
    for app in [&by_name, &by_port] {
        let listed = app.client.get("/api/models").await.ok(200).to_string();
        assert!(!listed.contains("llama3.2"), "{listed}");
    }
    assert_eq!(neighbour.calls().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_goes_past_proxies_and_tells_what_is_left_out() {
    let (neighbour, proxy) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let models = json!([{"name": "llama3.2:1b"}, {"name": "glm-4.6:cloud"}]);
    let port = as_ollama(&neighbour, &models);
    let through = format!("http://127.0.0.1:{}", port_of(&proxy));
    let mut variables = vec![
        ("OPENAI_API_KEY", "sk-not-to-be-sent".to_owned()),
        ("OLLAMA_API_KEY", "sk-not-to-be-sent".to_owned()),
        ("MAPLE__LOCAL__SERVERS", format!("ollama={port}")),
    ];
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        variables.push((name, through.clone()));
    }
    let told = printed(variables).await;
    assert_eq!(
        told,
        format!("Ollama (port {port}): 1 model; left out: 1 running on another machine\n")
    );
    assert_eq!((proxy.connections(), neighbour.calls().len()), (0, 2));
    for call in neighbour.calls() {
        let sent = format!("{:?}", call.headers);
        assert!(!sent.contains("sk-not-to-be-sent"), "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_of_mapleai_is_no_model_server() {
    let app = TestApp::start().await;
    let port = app.address.port();
    let products = ["ollama", "lm-studio", "llama-cpp", "vllm"];
    let servers = products.map(|product| format!("{product}={port}")).join(",");
    // As another instance, and as this one would look at its own port.
    for own in [0, port] {
        let variables = vec![("MAPLE__LOCAL__SERVERS", servers.clone()), ("PORT", own.to_string())];
        assert_eq!(printed(variables).await, "");
    }
}
