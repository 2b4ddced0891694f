//! The server's routes over the tiny model, called without a socket.

use std::{path::PathBuf, sync::Arc};

use axum::{Router, body::Body, http::Request, response::Response};
use http_body_util::BodyExt;
use local_model::{
    engine::{Model, scheduler::Scheduler},
    server::{self, App},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use super::tiny_model::TinyModel;

pub(crate) const KEY: &str = "a-key-of-this-test";

pub(crate) struct TestServer {
    pub(crate) router: Router,
    pub(crate) model: Arc<Model>,
    _folder: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn content(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()["choices"][0]["message"]["content"]
            .as_str()
            .expect("content")
            .to_owned()
    }

    pub(crate) fn finish(&self) -> String {
        self.json()["choices"][0]["finish_reason"]
            .as_str()
            .expect("a reason")
            .to_owned()
    }

    /// The text, finish reason and usage of a stream; `[DONE]` has ended it.
    pub(crate) fn streamed(&self) -> (String, String, Value) {
        let mut events: Vec<&str> = self
            .text
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "))
            .collect();
        assert_eq!(events.pop(), Some("[DONE]"), "{}", self.text);
        let (mut text, mut finish, mut usage) = (String::new(), String::new(), Value::Null);
        for event in events {
            let event: Value = serde_json::from_str(event).expect("JSON");
            let choice = &event["choices"][0];
            text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            finish.push_str(choice["finish_reason"].as_str().unwrap_or_default());
            if event["usage"].is_object() {
                usage = event["usage"].clone();
            }
        }
        (text, finish, usage)
    }
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::of(&TinyModel::default())
    }

    pub(crate) fn of(tiny: &TinyModel) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path: PathBuf = folder.path().join("tiny.gguf");
        tiny.write(&path);
        let model = Arc::new(Model::load(&path).expect("load the model"));
        let scheduler = Scheduler::start(Arc::clone(&model), model.context + 64).expect("start");
        let app = App::new("tiny".to_owned(), Arc::clone(&model), scheduler, KEY.into(), || {
            std::time::UNIX_EPOCH
        });
        Self {
            router: server::router(Arc::new(app)),
            model,
            _folder: folder,
        }
    }

    /// The response as it comes; dropped, the caller has hung up.
    pub(crate) async fn begin(&self, body: &Value) -> Response {
        let request = Request::post("/v1/chat/completions")
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .expect("a request");
        self.router.clone().oneshot(request).await.expect("infallible")
    }

    pub(crate) async fn post(&self, body: &Value) -> Answer {
        finished(self.begin(body).await).await
    }

    pub(crate) async fn get(&self, path: &str, key: &str) -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {key}"));
        let response = self
            .router
            .clone()
            .oneshot(request.body(Body::empty()).expect("a request"))
            .await;
        finished(response.expect("infallible")).await
    }

    /// Waits until no answer is in the making and none waits.
    pub(crate) async fn is_idle(&self) {
        loop {
            let health = self.get("/health", KEY).await.json();
            if health["active"] == 0 && health["waiting"] == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn finished(response: Response) -> Answer {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    Answer {
        status,
        text: String::from_utf8(body.to_vec()).expect("UTF-8"),
    }
}

/// A question, with more fields.
pub(crate) fn question(text: &str, fields: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 40});
    for (key, value) in fields.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body
}
