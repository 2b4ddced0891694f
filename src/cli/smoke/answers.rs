//! A model's answers: new, from the cache, and as a stream. The questions are repeatable, so that the cache may answer them, and each check
//! asks new ones, so that the model itself is heard.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::{Check, http::Reply};

/// For a request that a model answers.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// Another instance may be asked before it hears of the answer: so many looks, all of the same question.
const CACHE_LOOKS: usize = 3;
const CACHE_LOOK_INTERVAL: Duration = Duration::from_millis(500);

impl Check {
    pub(super) async fn choose_model(&mut self) {
        let step = self.report.begin("models");
        let reply = self.get("/api/models").await;
        if !reply.is(StatusCode::OK) {
            return step.fail(&format!("expected 200, {}", reply.summary()));
        }
        if let Some(model) = &self.model {
            return step.ok(&format!("{model} is asked, as SMOKE_MODEL says"));
        }
        match first_chat_model(&reply.json()) {
            Some(model) => {
                step.ok(&format!("{model} is asked"));
                self.model = Some(model);
            }
            None => step.fail("expected a chat model on offer, none came"),
        }
    }

    pub(super) async fn answers(&mut self, model: &str) {
        let question = new_question();
        let step = self.report.begin("answer");
        let first = match cache_header(&self.ask(model, &question, false).await) {
            Ok(header) => header,
            Err(reason) => {
                step.fail(&reason);
                return self.report.skip("answer from the cache", "there was no first answer");
            }
        };
        step.ok(&first);

        let step = self.report.begin("answer from the cache");
        let mut second = String::new();
        for look in 0..CACHE_LOOKS {
            if look > 0 {
                sleep(CACHE_LOOK_INTERVAL).await;
            }
            second = match cache_header(&self.ask(model, &question, false).await) {
                Ok(header) => header,
                Err(reason) => return step.fail(&reason),
            };
            if first != "miss" || second != "miss" {
                break;
            }
        }
        if second == "bypass" {
            step.ok("");
            let note = format!("bypass: answers of {model} are not remembered");
            self.report.note("answer from the cache", &note);
        } else if first == "miss" && second != "hit" {
            step.fail(&format!("expected X-Maple-Cache: hit after a miss, {second} came"));
        } else {
            step.ok(&second);
        }
    }

    pub(super) async fn stream(&mut self, model: &str) {
        let step = self.report.begin("stream");
        let reply = self.ask(model, &new_question(), true).await;
        if matches!(reply, Reply::Broken(_)) {
            return step.fail(&format!("expected a whole stream, {}", reply.summary()));
        }
        if !reply.is(StatusCode::OK) {
            return step.fail(&format!("expected 200, {}", reply.summary()));
        }
        let (events, is_whole) = events(&String::from_utf8_lossy(reply.body()));
        if !is_whole {
            step.fail(&format!(
                "expected data: [DONE] at the end, it ended after {events} events without it"
            ));
        } else if events == 0 {
            step.fail("expected events before data: [DONE], none came");
        } else {
            step.ok(&format!("{events} events"));
        }
    }

    async fn ask(&mut self, model: &str, question: &str, stream: bool) -> Reply {
        let messages = json!([{"role": "user", "content": question}]);
        let body = json!({"model": model, "messages": messages, "temperature": 0, "max_tokens": 16, "stream": stream});
        self.client
            .post(&self.at("/v1/chat/completions"), &body, ANSWER_TIMEOUT)
            .await
    }
}

fn new_question() -> String {
    format!("Say hello to health check {}.", Uuid::now_v7().simple())
}

/// How the cache had to do with an answer, or what is wrong with that.
fn cache_header(reply: &Reply) -> Result<String, String> {
    if !reply.is(StatusCode::OK) {
        return Err(format!("expected 200, {}", reply.summary()));
    }
    if !reply.json()["choices"].is_array() {
        return Err("expected an answer with choices, 200 came without them".to_owned());
    }
    match reply.header("x-maple-cache") {
        header @ ("hit" | "miss" | "coalesced" | "bypass") => Ok(header.to_owned()),
        header => Err(format!(
            "expected the header X-Maple-Cache with hit, miss, coalesced or bypass, '{header}' came"
        )),
    }
}

fn first_chat_model(models: &Value) -> Option<String> {
    let models = models["data"].as_array()?;
    let model = models.iter().find(|model| model["kind"] == "chat")?;
    model["id"].as_str().map(str::to_owned)
}

/// How many events a stream had, and whether it ended as it should.
fn events(text: &str) -> (usize, bool) {
    let count = text.lines().filter(|line| line.starts_with("data: {")).count();
    let last = text.lines().rfind(|line| !line.is_empty());
    (count, last == Some("data: [DONE]"))
}

#[cfg(test)]
mod tests {
    use super::{events, first_chat_model};
    use serde_json::json;

    #[test]
    fn a_stream_is_whole_with_its_last_event() {
        assert_eq!(events("data: {\"a\":1}\r\n\r\ndata: {}\n\ndata: [DONE]\n\n"), (2, true));
        assert_eq!(events("data: {}\n\n"), (1, false));
        assert_eq!(events("data: [DONE]\n\ndata: {}\n\n"), (1, false));
        assert_eq!(events(""), (0, false));
    }

    #[test]
    fn the_first_model_that_chats_is_asked() {
        let models = json!({"data": [{"id": "e", "kind": "embedding"}, {"id": "c", "kind": "chat"}, {"id": "d", "kind": "chat"}]});
        assert_eq!(first_chat_model(&models).as_deref(), Some("c"));
        assert_eq!(first_chat_model(&json!({"data": []})), None);
        assert_eq!(first_chat_model(&json!("<html>")), None);
    }
}
