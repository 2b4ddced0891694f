//! Upstreams that must be asked otherwise, or later, or waited for longer.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{CHAT, World, ask, last_event, repeatable, world};
use crate::support::{
    Answer, Reply, TestApp,
    accounts::register,
    upstream::{completion, delta},
};

/// openai/openai-agents-python #442: 400 or 422 for a field that the caller never sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_refuses_to_tell_usage_is_asked_without() {
    let world = world().await;
    let refusal = || {
        Reply::json(
            422,
            &json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}),
        )
    };
    let has_options = |index: usize| world.app.upstream.calls()[index].json()["stream_options"].is_object();
    // A caller who sent it is told.
    let mut own = ask(true);
    own["stream_options"] = json!({"include_usage": true});
    world.app.upstream.reply(refusal());
    assert_eq!(world.program.post(CHAT, &own).await.status, 422);
    assert_eq!(world.app.upstream.calls().len(), 1);
    // A refusal for another reason is passed on as it is.
    world
        .app
        .upstream
        .reply(Reply::json(422, &json!({"error": {"message": "no"}})));
    assert_eq!(world.program.post(CHAT, &ask(true)).await.status, 422);
    assert_eq!(world.app.upstream.calls().len(), 2);

    world.app.upstream.reply(refusal());
    let text = world.program.post(CHAT, &repeatable(true, 0)).await.text();
    assert!(text.contains(" there") && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!((has_options(2), has_options(3)), (true, false));
    let (last, _) = world.on_the_page().await;
    assert_eq!(last, "done");
    assert!(!has_options(4), "it is known by now");
    assert_eq!(world.app.upstream.calls().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_not_asked_for_usage_where_the_provider_is_set_so() {
    let app = TestApp::start_with(|config| config.providers.get_mut("fake").unwrap().usage_in_streams = false).await;
    let program = register(&app).await.program().await;
    let text = program.post(CHAT, &ask(true)).await.text();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(app.upstream.only_call().json()["stream_options"], Value::Null);
    let mut own = ask(true);
    own["stream_options"] = json!({"include_usage": true});
    program.post(CHAT, &own).await;
    assert!(
        app.upstream.calls()[1].json()["stream_options"].is_object(),
        "what callers ask is theirs"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_busy_tells_the_caller_when_to_come_back() {
    let world = world().await;
    for status in [503, 529] {
        let told = Reply::whole(status, &[("retry-after", "20")], "{\"error\":{\"message\":\"ours\"}}");
        world.app.upstream.always(Some(told));
        let answers: Vec<Answer> =
            join_all([ask(false), ask(true)].map(async |body| world.program.post(CHAT, &body).await)).await;
        for answer in answers {
            answer.openai_error(503, "provider_busy");
            assert_eq!(answer.header("retry-after"), "20");
            assert!(!answer.text().contains("ours"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_may_think_longer_than_a_pause_once_it_has_greeted() {
    let app = TestApp::start_with(|config| {
        let fake = config.providers.get_mut("fake").unwrap();
        fake.first_byte_timeout = Duration::from_millis(400);
        fake.chunk_timeout = Duration::from_millis(200);
    })
    .await;
    let ada = register(&app).await;
    let program = ada.program().await;
    let world = World { app, ada, program };
    let mut role = delta("");
    role["choices"][0]["delta"]["role"] = json!("assistant");
    let thought = Duration::from_millis(900);
    let replies = [
        Reply::events().event(&role).pause(thought).text("Thought"),
        Reply::events().chunk(": processing\n\n").pause(thought).text("Thought"),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let text = world.streamed(&reply.clone().done(), number).await;
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        world.app.upstream.reply(reply.done());
        assert_eq!(world.on_the_page().await.0, "done");
    }
    // Nor is there a first byte to wait for where the answer is not streamed.
    let body = completion("Thought", None).to_string();
    let late = Reply::promising(body.len(), "").pause(thought).bytes(body.clone());
    for reply in [
        late,
        Reply::default()
            .pause(thought)
            .and(Reply::json(200, &completion("Thought", None))),
    ] {
        world.app.upstream.reply(reply);
        world.program.post(CHAT, &ask(false)).await.ok(200);
    }
    // After its first text it is to go on.
    world.app.upstream.reply(Reply::events().text("Thought").stall());
    let text = world.program.post(CHAT, &ask(true)).await.text();
    assert_eq!(last_event(&text)["error"]["code"], "provider_timeout", "{text}");
}
