//! Titles that a free model on this machine gives conversations in the background.

mod yielding;

use std::sync::Arc;

use configuration::{Config, LocalProduct, LocalServer};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    FakeUpstream, Reply, TestApp,
    accounts::{Person, register},
    eventually,
    upstream::{Call, completion},
};

const MODEL: &str = "llama3.2:1b";
const QUESTION: &str = "Where could I go in May with two children and a dog, and not by plane, if at all possible?";
/// Its first words.
const FIRST_WORDS: &str = "Where could I go in May with two children and a dog, and…";

/// A service with a model server beside it, which answers every question by itself and titles as it is told.
struct Beside {
    app: TestApp,
    neighbour: FakeUpstream,
    ada: Person,
}

impl Beside {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let neighbour = FakeUpstream::start().await;
        neighbour.reply(Reply::json(200, &json!({"models": [{"name": MODEL}]})));
        neighbour.reply(Reply::whole(200, &[], "Ollama is running"));
        let url: url::Url = neighbour.base_url().parse().unwrap();
        let server = LocalServer {
            product: LocalProduct::Ollama,
            port: url.port().unwrap(),
        };
        let app = TestApp::start_with(|config| {
            config.local.servers = vec![server];
            change(config);
        })
        .await;
        let ada = register(&app).await;
        Self { app, neighbour, ada }
    }

    async fn conversation(&self) -> String {
        let made = self
            .ada
            .client
            .post("/api/conversations", &json!({"model": MODEL}))
            .await
            .ok(201);
        made["id"].as_str().unwrap().to_owned()
    }

    /// Asks, and waits for the end of the answer; whether a title is on its way.
    async fn ask(&self, conversation: &str, question: &str) -> bool {
        let path = format!("/api/conversations/{conversation}/messages");
        let mut events = self.ada.client.stream(&path, &json!({"content": question})).await;
        let done = events.until("done").await.json();
        assert_eq!(done["message"]["content"], "Hello there");
        done["titling"] == true
    }

    async fn title(&self, conversation: &str) -> String {
        let listed = self.ada.client.get("/api/conversations").await.ok(200);
        let all = listed["data"].as_array().unwrap();
        let found = all.iter().find(|one| one["id"] == conversation).unwrap();
        found["title"].as_str().unwrap().to_owned()
    }

    async fn titled(&self, conversation: &str, title: &str) {
        eventually("the title", || async {
            (self.title(conversation).await == title).then_some(())
        })
        .await;
    }

    /// What the server was asked, looks left out.
    fn calls(&self) -> Vec<Call> {
        self.neighbour.calls().split_off(2)
    }

    /// Another conversation that gets a title: whatever came before it in the background is over then.
    async fn all_before_is_over(&self) {
        let last = self.conversation().await;
        self.neighbour.reply(streamed());
        self.neighbour.reply(said("The last one"));
        assert!(self.ask(&last, "Hello?").await);
        self.titled(&last, "The last one").await;
    }
}

/// The answer to a question.
fn streamed() -> Reply {
    Reply::events().text("Hello").text(" there").usage(9, 2).done()
}

fn said(title: &str) -> Reply {
    Reply::json(200, &completion(title, Some((30, 5))))
}

#[tokio::test]
async fn the_model_gives_a_title_once_the_first_answer_is_stored_and_nobody_is_charged() {
    let beside = Beside::start_with(|config| {
        config.admission.max_in_flight_per_organization = 1;
        config.admission.queue_length = 0;
    })
    .await;
    let gate = Arc::new(Semaphore::new(0));
    beside.neighbour.reply(streamed());
    beside
        .neighbour
        .reply(said("**Title:** \"A trip in May.\"\n").not_before(&gate));
    let conversation = beside.conversation().await;
    let question = format!("{QUESTION}\n{}", "Tell me more. ".repeat(1_000));
    assert!(beside.ask(&conversation, &question).await);
    assert_eq!(beside.title(&conversation).await, FIRST_WORDS);
    beside.neighbour.called(4).await;
    // While the title is on its way there is a place for the only call that the organisation may have in flight.
    let program = beside.ada.program().await;
    let ask = json!({"model": "maple-chat", "messages": [{"role": "user", "content": "Hello"}]});
    program.post("/v1/chat/completions", &ask).await.ok(200);
    gate.add_permits(1);
    beside.titled(&conversation, "A trip in May").await;

    let asked = beside.calls()[1].json();
    assert_eq!(
        (&asked["model"], &asked["max_tokens"], &asked["temperature"]),
        (&json!(MODEL), &json!(20), &json!(0))
    );
    let messages = asked["messages"].as_array().unwrap();
    assert_eq!(
        (&messages[0]["role"], &messages[1]["role"]),
        (&json!("system"), &json!("user"))
    );
    assert_eq!(messages[1]["content"].as_str().unwrap().chars().count(), 1_500);
    let used = eventually("the records of both calls", || async {
        let usage = beside.ada.client.get("/api/usage").await.ok(200);
        (usage["totals"]["requests"] == 2).then_some(usage)
    })
    .await;
    assert_eq!(used["totals"]["input_tokens"], 18, "{used}");
    // A second answer asks for no second title.
    beside.neighbour.reply(streamed());
    assert!(!beside.ask(&conversation, "And in June?").await);
}

#[tokio::test]
async fn a_title_that_the_person_gives_meanwhile_stays() {
    let beside = Beside::start().await;
    let gate = Arc::new(Semaphore::new(0));
    beside.neighbour.reply(streamed());
    beside.neighbour.reply(said("A trip in May").not_before(&gate));
    let conversation = beside.conversation().await;
    assert!(beside.ask(&conversation, QUESTION).await);
    beside.neighbour.called(4).await;
    let path = format!("/api/conversations/{conversation}");
    beside.ada.client.patch(&path, &json!({"title": "Mine"})).await.ok(200);
    gate.add_permits(1);
    beside.all_before_is_over().await;
    assert_eq!(beside.title(&conversation).await, "Mine");
    // One that had a title from the start is not asked for at all.
    let before = beside.calls().len();
    let named = json!({"model": MODEL, "title": "Plans"});
    let named = beside.ada.client.post("/api/conversations", &named).await.ok(201);
    let named = named["id"].as_str().unwrap();
    beside.neighbour.reply(streamed());
    beside.ask(named, QUESTION).await;
    beside.all_before_is_over().await;
    assert_eq!(
        (beside.title(named).await.as_str(), beside.calls().len()),
        ("Plans", before + 3)
    );
}

#[tokio::test]
async fn what_fails_or_is_no_title_leaves_the_first_words() {
    let beside = Beside::start().await;
    let replies = [
        Reply::json(500, &json!({"error": {"message": "out of memory"}})),
        Reply::json(400, &json!({"error": {"message": "no such field"}})),
        Reply::whole(200, &[], "<html>"),
        Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{").break_off(),
        said(""),
        said("\"\"\n***"),
        said(&"word ".repeat(500)),
        streamed(),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let conversation = beside.conversation().await;
        beside.neighbour.reply(streamed());
        beside.neighbour.reply(reply);
        assert!(beside.ask(&conversation, QUESTION).await, "reply {number}");
        // Each is asked once.
        let calls = 4 + 4 * number;
        beside.neighbour.called(calls).await;
        beside.all_before_is_over().await;
        assert_eq!(beside.title(&conversation).await, FIRST_WORDS, "reply {number}");
        assert_eq!(beside.neighbour.calls().len(), calls + 2, "reply {number}");
    }
}

#[tokio::test]
async fn titles_can_be_switched_off_and_are_not_asked_of_models_that_run_elsewhere() {
    let off = Beside::start_with(|config| config.local.titles = false).await;
    let conversation = off.conversation().await;
    assert!(!off.ask(&conversation, QUESTION).await);
    let elsewhere = off
        .ada
        .client
        .post("/api/conversations", &json!({"model": "same-name"}))
        .await
        .ok(201);
    let beside = Beside::start().await;
    let path = |made: &Value| format!("/api/conversations/{}/messages", made["id"].as_str().unwrap());
    let mut events = off
        .ada
        .client
        .stream(&path(&elsewhere), &json!({"content": QUESTION}))
        .await;
    assert_eq!(events.until("done").await.json()["titling"], Value::Null);
    let elsewhere = beside
        .ada
        .client
        .post("/api/conversations", &json!({"model": "same-name"}))
        .await
        .ok(201);
    let mut events = beside
        .ada
        .client
        .stream(&path(&elsewhere), &json!({"content": QUESTION}))
        .await;
    assert_eq!(events.until("done").await.json()["titling"], Value::Null);
    assert_eq!(
        (
            off.calls().len(),
            beside.calls().len(),
            beside.app.upstream.calls().len()
        ),
        (1, 0, 1)
    );
}
