//! Answers that stand in for the model's are nobody's later.

use serde_json::{Value, json};

use super::{CHAT, KEY, LONG, Local, MODEL, ask, text_of};
use crate::support::{FakeUpstream, Reply, eventually, haproxy::free_port, upstream::completion};

/// A request for a repeatable answer, which is remembered.
fn repeatable() -> Value {
    let mut body = ask("What is a maple?");
    body["temperature"] = json!(0);
    body
}

async fn asked(local: &Local) -> (String, String) {
    let answer = local.program.post(CHAT, &repeatable()).await;
    (text_of(&answer.ok(200)), answer.header("x-maple-cache").to_owned())
}

#[tokio::test]
async fn a_made_up_answer_is_never_remembered_and_a_models_is_for_as_long_as_it_is_the_same() {
    let local = Local::start(LONG).await;
    local.tell(&json!({"state": "downloading", "percent": 1})).await;
    for _ in 0..2 {
        let (text, cache) = asked(&local).await;
        assert!(
            text.ends_with("downloaded (1 %).") && cache == "bypass",
            "{cache}: {text}"
        );
    }
    let server = FakeUpstream::start().await;
    local.ready_at(&server).await;
    let said = |text: &str, cache: &str| (text.to_owned(), cache.to_owned());
    assert_eq!(asked(&local).await, said("Hello there", "miss"));
    for _ in 0..3 {
        assert_eq!(asked(&local).await, said("Hello there", "hit"));
    }
    local.tell(&json!({"state": "failed", "reason": ""})).await;
    let (text, cache) = asked(&local).await;
    assert!(
        text.ends_with("could not be started.") && cache == "bypass",
        "{cache}: {text}"
    );
    let other = FakeUpstream::start().await;
    other.reply(Reply::json(200, &completion("Another model's", None)));
    local.ready_at(&other).await;
    assert_eq!(
        asked(&local).await,
        said("Another model's", "miss"),
        "another server is another model"
    );
}

/// The call is meant to be remembered, for the model was ready when it came.
#[tokio::test]
async fn an_answer_made_up_for_a_model_that_has_just_vanished_is_not_remembered() {
    let local = Local::start(std::time::Duration::from_millis(200)).await;
    let port = free_port();
    let ready = json!({"state": "ready", "url": format!("http://127.0.0.1:{port}/v1"), "key": KEY, "model": MODEL});
    local.tell(&ready).await;
    let (text, cache) = asked(&local).await;
    assert!(text.contains("has ended"), "{text}");
    assert_eq!(cache, "miss");
    let _server = eventually("the port", || async { Some(FakeUpstream::start_at(port).await) }).await;
    local.tell(&json!({"state": "loading"})).await;
    local.tell(&ready).await;
    let (text, cache) = asked(&local).await;
    assert_eq!((text.as_str(), cache.as_str()), ("Hello there", "miss"));
}
