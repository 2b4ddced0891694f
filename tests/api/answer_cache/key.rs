//! What an answer is found by, and for whom.

use configuration::AnswerCaching;
use reqwest::Method;
use serde_json::json;

use super::{CHAT, ask, cache, start, with};
use crate::support::{Answer, Reply, TestApp, accounts::register};

#[tokio::test]
async fn what_changes_the_answer_is_in_the_key_and_nothing_else() {
    let (app, program) = start().await;
    program.post(CHAT, &ask("Hi")).await.ok(200);
    let same = [
        with(ask("Hi"), "user", "somebody"),
        with(ask("Hi"), "metadata", json!({"a": "b"})),
        with(ask("Hi"), "stream", false),
    ];
    for body in &same {
        assert_eq!(cache(&program.post(CHAT, body).await), "hit", "{body}");
    }
    let reordered = r#"{ "messages" : [{"content":"Hi", "role":"user"}], "temperature" : 0, "model":"maple-chat" }"#;
    let request = program
        .request(Method::POST, CHAT)
        .header("content-type", "application/json");
    assert_eq!(cache(&Answer::of(request.body(reordered)).await), "hit");
    app.upstream.only_call();
    let other = [
        ask("Hi "),
        with(ask("Hi"), "max_tokens", 5),
        with(ask("Hi"), "a_field_of_tomorrow", 1),
        with(ask("Hi"), "seed", 1),
        with(ask("Hi"), "model", "same-name"),
    ];
    for body in &other {
        assert_eq!(cache(&program.post(CHAT, body).await), "miss", "{body}");
    }
    let never = [
        with(ask("Hi"), "temperature", 0.7),
        with(ask("Hi"), "store", true),
        json!({"model": "maple-chat", "messages": []}),
    ];
    for body in &never {
        for _ in 0..2 {
            assert_eq!(cache(&program.post(CHAT, body).await), "bypass", "{body}");
        }
    }
    let embed = json!({"model": "maple-embed", "input": "x"});
    let embedding =
        json!({"object": "list", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 1, "total_tokens": 1}});
    app.upstream.always(Some(Reply::json(200, &embedding)));
    for wanted in ["miss", "hit"] {
        assert_eq!(cache(&program.post("/v1/embeddings", &embed).await), wanted);
    }
}

#[tokio::test]
async fn a_model_says_which_of_its_answers_are_remembered() {
    let app = TestApp::start_with(|config| {
        config.cache.answers = AnswerCaching::Off;
        config.models[2].cache = Some(AnswerCaching::All);
    })
    .await;
    let program = register(&app).await.program().await;
    let all = json!({"model": "same-name", "messages": [{"role": "user", "content": "warm"}], "temperature": 1});
    for (body, wanted) in [(&ask("x"), ["bypass", "bypass"]), (&all, ["miss", "hit"])] {
        for wanted in wanted {
            assert_eq!(cache(&program.post(CHAT, body).await), wanted, "{body}");
        }
    }
}

#[tokio::test]
async fn another_organisation_and_another_member_of_the_same() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let (one, colleague) = (ada.program().await, ada.program().await);
    let stranger = register(&app).await.program().await;
    one.post(CHAT, &ask("Secret?")).await.ok(200);
    assert_eq!(cache(&colleague.post(CHAT, &ask("Secret?")).await), "hit");
    assert_eq!(app.upstream.calls().len(), 1);
    assert_eq!(cache(&stranger.post(CHAT, &ask("Secret?")).await), "miss");
    assert_eq!(app.upstream.calls().len(), 2, "the stranger's own call");
}
