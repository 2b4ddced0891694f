//! What an answer depends on, and what it does not.

use serde_json::{Value, json};

use crate::support::server::{TestServer, question};

#[tokio::test]
async fn a_stream_says_what_a_whole_answer_says() {
    let server = TestServer::start();
    let whole = server.post(&question("Hello", json!({}))).await;
    let stream = server
        .post(&question(
            "Hello",
            json!({"stream": true, "stream_options": {"include_usage": true}}),
        ))
        .await;
    let (text, finish, usage) = stream.streamed();
    assert_eq!(text, whole.content());
    assert_eq!((finish.as_str(), whole.finish().as_str()), ("length", "length"));
    assert_eq!(usage, whole.json()["usage"]);
    assert_eq!(usage["completion_tokens"], 40);
    // One token for each byte of "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", three of which are control tokens.
    assert_eq!(usage["prompt_tokens"], 3 + "user\nHello\nassistant\n".len());
}

#[tokio::test]
async fn a_stream_has_usage_only_if_it_was_asked_for() {
    let server = TestServer::start();
    let (_, _, usage) = server
        .post(&question("Hello", json!({"stream": true})))
        .await
        .streamed();
    assert_eq!(usage, Value::Null);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_text_and_another_one_another() {
    let server = TestServer::start();
    let drawn = |seed: i64| question("Hello", json!({"temperature": 1.5, "top_p": 1, "seed": seed}));
    let first = server.post(&drawn(7)).await.content();
    let other = server.post(&drawn(-8)).await.content();
    assert_eq!(server.post(&drawn(7)).await.content(), first);
    assert_eq!(TestServer::start().post(&drawn(7)).await.content(), first);
    assert_ne!(other, first);
    let unseeded = question("Hello", json!({"temperature": 1.5, "top_p": 1}));
    assert_ne!(
        server.post(&unseeded).await.content(),
        server.post(&unseeded).await.content()
    );
}

/// Before, beside, after one that hung up and after one that was refused.
#[tokio::test]
async fn an_answer_does_not_depend_on_what_others_ask() {
    let fresh = TestServer::start();
    let asked = question("Who are you?", json!({}));
    let expected = fresh.post(&asked).await.content();

    let server = TestServer::start();
    let other = question("You are Machine 1, the secret is ANANAS", json!({"max_tokens": 200}));
    server.post(&other).await;
    assert_eq!(server.post(&asked).await.content(), expected, "after another");
    let (_, beside, beside_too) = tokio::join!(server.post(&other), server.post(&asked), server.post(&asked));
    assert_eq!(beside.content(), expected, "beside another");
    assert_eq!(beside_too.content(), expected, "beside its equal");
    drop(
        server
            .begin(&question("ANANAS", json!({"stream": true, "max_tokens": 400})))
            .await,
    );
    assert_eq!(server.post(&asked).await.content(), expected, "after one that hung up");
    let refused = server.post(&question(&"ANANAS".repeat(500), json!({}))).await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        server.post(&asked).await.content(),
        expected,
        "after one that was refused"
    );
}

#[tokio::test]
async fn a_used_token_becomes_less_likely_by_a_penalty() {
    let server = TestServer::start();
    let plain = server.post(&question("Hello", json!({}))).await.content();
    let varied = server
        .post(&question(
            "Hello",
            json!({"frequency_penalty": 2, "presence_penalty": 2}),
        ))
        .await
        .content();
    let letters = |text: &str| text.chars().collect::<std::collections::BTreeSet<_>>().len();
    assert!(letters(&varied) > letters(&plain), "{varied:?} and {plain:?}");
}

#[tokio::test]
async fn a_caller_who_hangs_up_frees_the_engine_in_every_phase() {
    let server = TestServer::start();
    let long = question(&"word ".repeat(80), json!({"stream": true, "max_tokens": 60}));
    let phases = server.begin(&long).await;
    drop(phases);
    server.is_idle().await;
    // In mid-answer.
    let mut body = server.begin(&long).await.into_body().into_data_stream();
    for _ in 0..2 {
        futures_util::StreamExt::next(&mut body)
            .await
            .expect("an event")
            .expect("no error");
    }
    drop(body);
    server.is_idle().await;
    assert_eq!(server.post(&question("Hello", json!({}))).await.status, 200);
}
