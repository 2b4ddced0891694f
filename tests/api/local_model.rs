//! A model that a process beside MapleAI runs, told of by a file: what is answered before, while and after it is ready.

mod cache;
mod files;
mod page;
mod titles;

use std::{path::PathBuf, time::Duration};

use configuration::{ProviderConfig, ProviderKind};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, FakeUpstream, Reply, TestApp, accounts::register, eventually, upstream::completion};

const CHAT: &str = "/v1/chat/completions";
const MODEL: &str = "smollm2-135m";
const KEY: &str = "0123456789abcdef";

/// A service with such a model, and its state file.
struct Local {
    app: TestApp,
    program: Client,
    folder: TempDir,
}

impl Local {
    async fn start(ready_timeout: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state_file = Some(folder.path().join("state.json"));
        let app = TestApp::start_with(|config| {
            let local = ProviderConfig {
                state_file,
                ready_timeout,
                first_token_delay: Duration::ZERO,
                token_delay: Duration::ZERO,
                ..ProviderConfig::new(ProviderKind::Local)
            };
            config.providers.insert("local".to_owned(), local);
        })
        .await;
        let program = register(&app).await.program().await;
        Self { app, program, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }

    /// Replaces the state file, as the process does, and waits until that is seen.
    async fn tell(&self, state: &Value) {
        self.write(&state.to_string());
        let wanted = state["state"].as_str().unwrap();
        self.becomes(wanted, state["percent"].as_u64()).await;
    }

    async fn ready_at(&self, server: &FakeUpstream) {
        self.tell(&ready(server)).await;
    }

    fn write(&self, content: &str) {
        let beside = self.folder.path().join("beside");
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(beside, self.file()).unwrap();
    }

    async fn becomes(&self, state: &str, percent: Option<u64>) {
        eventually("the state of the local model", || async {
            let told = self.told().await;
            (told["state"] == state && told["percent"].as_u64() == percent).then_some(())
        })
        .await;
    }

    /// What the catalogue says of it.
    async fn told(&self) -> Value {
        let listed = self.app.client.get("/api/models").await.ok(200);
        let models = listed["data"].as_array().unwrap();
        models.iter().find(|model| model["id"] == MODEL).unwrap()["local"].clone()
    }

    async fn answer(&self) -> String {
        let answer = self.program.post(CHAT, &ask("Hello")).await.ok(200);
        text_of(&answer)
    }
}

fn ready(server: &FakeUpstream) -> Value {
    json!({"state": "ready", "url": server.base_url(), "key": KEY, "model": MODEL})
}

fn ask(question: &str) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": question}]})
}

fn text_of(answer: &Value) -> String {
    let text = answer["choices"][0]["message"]["content"].as_str();
    text.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// What no test waits for.
const LONG: Duration = Duration::from_mins(5);

#[tokio::test]
async fn until_it_is_ready_an_answer_is_made_up_and_says_why() {
    let local = Local::start(LONG).await;
    let closes = async |why: &str| {
        let sentence = format!("This is a canned answer: SmolLM2 135M {why}.");
        let whole = local.answer().await;
        assert!(whole.ends_with(&sentence), "{whole}");
        let mut streamed = ask("Hello");
        streamed["stream"] = json!(true);
        let answer = local.program.post(CHAT, &streamed).await;
        assert_eq!(answer.status, 200);
        let last = sentence.split(' ').next_back().unwrap();
        let text = answer.text();
        assert!(text.contains(last) && text.ends_with("data: [DONE]\n\n"), "{text}");
    };
    closes("has not been started").await;
    local.tell(&json!({"state": "building"})).await;
    closes("is still being built").await;
    local.tell(&json!({"state": "downloading", "percent": 42})).await;
    closes("is still being downloaded (42 %)").await;
    local
        .tell(&json!({"state": "failed", "reason": "no compiler was found; install gcc."}))
        .await;
    closes("could not be started: no compiler was found; install gcc").await;
    std::fs::remove_file(local.file()).unwrap();
    local.becomes("not_started", None).await;
    closes("has not been started").await;
}

#[tokio::test]
async fn a_ready_one_answers_and_so_does_the_one_that_takes_its_place() {
    let local = Local::start(LONG).await;
    let (first, second) = (FakeUpstream::start().await, FakeUpstream::start().await);
    local.ready_at(&first).await;
    assert_eq!(local.answer().await, "Hello there");
    let call = first.only_call();
    assert_eq!(call.header("authorization"), format!("Bearer {KEY}"));
    assert_eq!(
        (call.path.as_str(), &call.json()["model"]),
        ("/v1/chat/completions", &json!(MODEL))
    );
    local
        .tell(&json!({"state": "restarting", "reason": "it was killed"}))
        .await;
    let told = local.told().await;
    assert_eq!(
        told["sentence"],
        "SmolLM2 135M is being started again (it was killed). Questions wait for it."
    );
    let mut other = ready(&second);
    other["model"] = json!("by-another-name");
    local.tell(&other).await;
    assert_eq!(local.answer().await, "Hello there");
    assert_eq!(
        (first.calls().len(), &second.only_call().json()["model"]),
        (1, &json!("by-another-name"))
    );
}

#[tokio::test]
async fn a_call_waits_for_one_that_is_being_loaded() {
    let local = Local::start(LONG).await;
    let server = FakeUpstream::start().await;
    for state in [
        json!({"state": "loading"}),
        json!({"state": "restarting", "reason": ""}),
    ] {
        local.tell(&state).await;
        let (answer, ()) = tokio::join!(local.answer(), async {
            local.ready_at(&server).await;
        });
        assert_eq!(answer, "Hello there");
    }
    local.tell(&json!({"state": "loading"})).await;
    let failed = json!({"state": "failed", "reason": "the file is damaged"});
    let (answer, ()) = tokio::join!(local.answer(), local.tell(&failed));
    assert!(answer.ends_with("the file is damaged."), "{answer}");
}

#[tokio::test]
async fn a_call_waits_no_longer_than_is_configured() {
    let local = Local::start(Duration::from_millis(200)).await;
    local.tell(&json!({"state": "loading"})).await;
    let answer = local.answer().await;
    assert!(answer.ends_with("SmolLM2 135M is still being loaded."), "{answer}");
}

#[tokio::test]
async fn one_that_has_vanished_is_no_error_and_is_taken_up_again() {
    let local = Local::start(Duration::from_millis(200)).await;
    let server = FakeUpstream::start().await;
    local.ready_at(&server).await;
    assert_eq!(local.answer().await, "Hello there");
    drop(server);
    for _ in 0..2 {
        let answer = local.answer().await;
        assert!(
            answer.ends_with("has ended and has not been started again yet."),
            "{answer}"
        );
    }
    local.becomes("restarting", None).await;
    let again = FakeUpstream::start().await;
    local.ready_at(&again).await;
    assert_eq!(local.answer().await, "Hello there");
}

#[tokio::test]
async fn one_that_dies_in_mid_answer_fails_it_in_place() {
    let local = Local::start(LONG).await;
    let server = FakeUpstream::start().await;
    local.ready_at(&server).await;
    server.reply(Reply::events().text("Half of").break_off());
    let mut streamed = ask("Hello");
    streamed["stream"] = json!(true);
    let answer = local.program.post(CHAT, &streamed).await;
    let text = answer.text();
    assert!(text.contains("Half of") && text.contains("\"error\""), "{text}");
    assert!(!text.contains("canned") && !text.contains("[DONE]"), "{text}");
    server.reply(Reply::json(200, &completion("Well again", None)));
    assert_eq!(local.answer().await, "Well again");
}

/// A person who has chosen nothing is better served by it than by what makes its answers up, and best by a real model.
#[tokio::test]
async fn it_is_preferred_to_made_up_answers_and_a_real_model_to_it() {
    let start = async |real: bool| {
        let folder = tempfile::tempdir().unwrap();
        let state_file = Some(folder.path().join("state.json"));
        let app = TestApp::start_with(|config| {
            let local = ProviderConfig {
                state_file,
                ..ProviderConfig::new(ProviderKind::Local)
            };
            config.providers.insert("local".to_owned(), local);
            config
                .providers
                .insert("mock".to_owned(), ProviderConfig::new(ProviderKind::Mock));
            let mut mock = config.models[0].clone();
            (mock.id, mock.provider) = ("a-mock".to_owned(), "mock".to_owned());
            config.models.retain(|_| real);
            config.models.push(mock);
        })
        .await;
        let ada = register(&app).await;
        let conversation = ada.conversation().await;
        let path = format!("/api/conversations/{conversation}/messages");
        let mut events = ada.client.stream(&path, &json!({"content": "Hello"})).await;
        let begun = events.next().await.unwrap().json();
        begun["assistant"]["model"].as_str().unwrap().to_owned()
    };
    assert_eq!(start(false).await, MODEL);
    assert_eq!(start(true).await, "maple-chat");
}
