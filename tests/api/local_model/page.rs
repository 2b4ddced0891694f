//! What the chat page says of such a model, and of connecting a real one.

use configuration::{Config, ProviderKind, load::Sources};
use serde_json::json;

use super::{LONG, Local};
use crate::support::{
    Answer, FakeUpstream,
    accounts::{Browser, register},
};

async fn page(local: &Local) -> String {
    let ada = register(&local.app).await;
    let browser = Browser::sign_in(&local.app, &ada).await;
    let request = local.app.client.request(http::Method::GET, "/");
    Answer::of(request.header("cookie", &browser.cookie)).await.text()
}

#[tokio::test]
async fn the_page_comes_with_the_state_as_it_is() {
    let local = Local::start(LONG).await;
    local.tell(&json!({"state": "downloading", "percent": 42})).await;
    let shown = page(&local).await;
    assert!(shown.contains("SmolLM2 135M (on this machine)</option>"), "{shown}");
    assert!(
        shown.contains(r#"data-local="downloading" data-percent="42""#),
        "{shown}"
    );
    // A real model is configured, and is the one that is selected.
    assert!(shown.contains(r#"data-test="local" data-state="" hidden"#), "{shown}");
}

#[tokio::test]
async fn the_lines_for_a_real_model_connect_one() {
    let local = Local::start(LONG).await;
    let shown = page(&local).await;
    let mut lines: Vec<String> = shown
        .split(r#"data-test="connect-line""#)
        .skip(1)
        .map(|rest| rest.split(['>', '<']).nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let server = FakeUpstream::start().await;
    lines.push(format!("OPENAI_BASE_URL={}", server.base_url()));
    for line in lines {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env.local"), format!("{line}\n")).unwrap();
        let config = Config::load(&Sources {
            dotenv_dir: folder.path().to_owned(),
            ..Sources::default()
        })
        .unwrap_or_else(|error| panic!("{line}: {error}"));
        let provider = &config.providers["openai"];
        assert!(
            provider.kind == ProviderKind::Openai && provider.discover_models,
            "{line}"
        );
        let url = provider.base_url.as_ref().unwrap().as_str().to_owned();
        let (name, value) = line.split_once('=').unwrap();
        match name {
            "OPENAI_BASE_URL" => assert_eq!(url, value),
            "OPENAI_API_KEY" => assert_eq!(url, "https://api.openai.com/v1"),
            name => panic!("{name}"),
        }
        if value == server.base_url() {
            let app = crate::support::TestApp::start_with(|own| {
                own.providers.insert("openai".to_owned(), provider.clone());
            })
            .await;
            let listed = app.client.get("/api/models").await.text();
            assert!(listed.contains("\"provider\":\"openai\""), "{listed}");
        }
    }
}
