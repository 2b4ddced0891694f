//! The context, the queue, and the limits of an answer.

use serde_json::json;

use crate::support::server::{TestServer, question};

/// The frame of one message: "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n".
const FRAME: usize = 3 + "user\n\nassistant\n".len();
const CONTEXT: usize = 512;

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_with_both_numbers() {
    let server = TestServer::start();
    let of_tokens = |tokens: usize| question(&"a".repeat(tokens - FRAME), json!({"max_tokens": 100}));
    for tokens in [CONTEXT, CONTEXT + 1, CONTEXT + 5000] {
        let refused = server.post(&of_tokens(tokens)).await;
        assert_eq!(refused.status, 400);
        let error = &refused.json()["error"];
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!("context_length_exceeded"), &json!("messages"))
        );
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("512") && message.contains(&tokens.to_string()),
            "{message}"
        );
    }
    let last = server.post(&of_tokens(CONTEXT - 1)).await;
    assert_eq!(
        (last.finish().as_str(), &last.json()["usage"]["completion_tokens"]),
        ("length", &json!(1))
    );
}

#[tokio::test]
async fn an_answer_gets_the_room_that_is_left() {
    let server = TestServer::start();
    let answer = server
        .post(&question(
            &"a".repeat(CONTEXT - 5 - FRAME),
            json!({"max_tokens": 100_000}),
        ))
        .await;
    assert_eq!(answer.finish(), "length");
    assert_eq!(
        answer.json()["usage"],
        json!({"prompt_tokens": 507, "completion_tokens": 5, "total_tokens": 512})
    );
}

#[tokio::test]
async fn the_newer_limit_wins_over_the_older() {
    let server = TestServer::start();
    let answer = server
        .post(&question(
            "Hello",
            json!({"max_tokens": 30, "max_completion_tokens": 3}),
        ))
        .await;
    assert_eq!(answer.json()["usage"]["completion_tokens"], 3);
}

/// An answer without a limit ends all the same: here by the context, in a larger one by the default limit.
#[tokio::test]
async fn an_answer_without_a_limit_ends() {
    let server = TestServer::start();
    let answer = server
        .post(&question("Repeat for ever", json!({"max_tokens": null})))
        .await;
    assert_eq!(answer.finish(), "length");
}

#[tokio::test]
async fn two_callers_have_the_whole_context_each() {
    let server = TestServer::start();
    let long = question(&"a".repeat(CONTEXT - 50 - FRAME), json!({"max_tokens": 50}));
    let (one, other) = tokio::join!(server.post(&long), server.post(&long));
    assert_eq!(one.content(), other.content());
    assert_eq!(other.json()["usage"]["completion_tokens"], 50);
}

#[tokio::test]
async fn a_request_beyond_the_queue_is_refused_until_there_is_room() {
    let server = TestServer::start();
    let long = question("Hello", json!({"stream": true, "max_tokens": 480}));
    let mut begun = Vec::new();
    let refused = loop {
        let response = server.begin(&long).await;
        match response.status().as_u16() {
            200 => begun.push(response),
            _ => break response,
        }
        assert!(begun.len() < 100, "the queue has no bound");
    };
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert!(begun.len() >= 16, "{} were taken", begun.len());
    // Those who hang up while they wait make room at once.
    begun.clear();
    assert_eq!(server.post(&question("Hello", json!({}))).await.status, 200);
    server.is_idle().await;
}

/// Cost is bounded before the work: each is answered or refused, and the server goes on.
#[tokio::test]
async fn a_long_text_without_a_space_is_no_more_work_than_another() {
    let server = TestServer::start();
    let texts = [
        "A".repeat(30_000),
        "a".repeat(1_000_000),
        " ".repeat(500_000),
        "1".repeat(100_000),
        "\n".repeat(100_000),
        "👍".repeat(200_000),
        "\0".to_owned(),
    ];
    for text in texts {
        let answer = server.post(&question(&text, json!({"max_tokens": 1}))).await;
        assert!(matches!(answer.status, 200 | 400), "{}", answer.text);
    }
    assert_eq!(server.post(&question("Hello", json!({}))).await.status, 200);
}
