//! Through the trait, as the service calls it.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::MockProvider;
use crate::{Provider, ProviderError, ProviderReply, ProviderRequest};
use configuration::{ProviderConfig, ProviderKind};
use llm::{
    Endpoint,
    outbound::openai::chunk::{answer_text, delta_text},
};

const FIRST_TOKEN: Duration = Duration::from_millis(30);
const TOKEN: Duration = Duration::from_millis(2);
const FIRST_BYTE: Duration = Duration::from_millis(150);
const CHUNK: Duration = Duration::from_millis(100);
const TOTAL: Duration = Duration::from_secs(2);

fn mock() -> MockProvider {
    MockProvider::new(
        "maple-dev",
        &ProviderConfig {
            first_byte_timeout: FIRST_BYTE,
            chunk_timeout: CHUNK,
            total_timeout: TOTAL,
            first_token_delay: FIRST_TOKEN,
            token_delay: TOKEN,
            ..ProviderConfig::new(ProviderKind::Mock)
        },
    )
}

async fn send(body: &Value) -> Result<ProviderReply, ProviderError> {
    let request = ProviderRequest {
        stream: body["stream"] == true,
        ..ProviderRequest::whole(Endpoint::ChatCompletions, "maple-dev".into(), body.to_string().into())
    };
    mock().send(request).await
}

fn asking(question: &str, stream: bool) -> Value {
    json!({"model": "maple-dev", "messages": [{"role": "user", "content": question}], "stream": stream})
}

/// The text and what ended the stream before its time.
async fn streamed(question: &str) -> (String, Option<ProviderError>) {
    let Ok(ProviderReply::Stream { mut frames, .. }) = send(&asking(question, true)).await else {
        panic!("no stream");
    };
    let mut text = String::new();
    while let Some(item) = frames.next().await {
        match item {
            Ok(frame) => text.extend(delta_text(&frame.data())),
            Err(error) => return (text, Some(error)),
        }
    }
    (text, None)
}

#[tokio::test]
async fn the_pace_is_that_of_a_model() {
    let begun = Instant::now();
    let (text, error) = streamed("[[mock:tokens=40]]").await;
    assert!(error.is_none() && text.contains("maple-dev"), "{error:?}: {text}");
    assert!(begun.elapsed() >= FIRST_TOKEN + 40 * TOKEN);

    let begun = Instant::now();
    let Ok(ProviderReply::Whole { body, .. }) = send(&asking("[[mock:tokens=40]]", false)).await else {
        panic!("no answer");
    };
    assert!(begun.elapsed() >= FIRST_TOKEN + 40 * TOKEN);
    assert_eq!(answer_text(&body).unwrap(), text);
}

#[tokio::test]
async fn directives_are_obeyed() {
    for status in [400, 429] {
        let reply = send(&asking(&format!("[[mock:status={status}]]"), true)).await;
        let Ok(ProviderReply::Whole {
            status: given, body, ..
        }) = reply
        else {
            panic!("{status}")
        };
        assert_eq!(given.as_u16(), status);
        assert!(serde_json::from_slice::<Value>(&body).unwrap()["error"]["message"].is_string());
    }
    for status in [401, 500, 503] {
        let reply = send(&asking(&format!("[[mock:status={status}]]"), false)).await;
        assert!(matches!(reply, Err(ProviderError::Status(given)) if given.as_u16() == status));
    }
    let (text, error) = streamed("[[mock:break_after=3]]").await;
    assert!(matches!(error, Some(ProviderError::BrokenOff(_))), "{error:?}");
    assert_eq!(text.split_whitespace().count(), 2, "the opening and two pieces: {text}");
    let broken = send(&asking("[[mock:break_after=3]]", false)).await;
    assert!(matches!(broken, Err(ProviderError::BrokenOff(_))));
}

#[tokio::test]
async fn stalls_end_as_a_real_upstreams_do() {
    let begun = Instant::now();
    let stalled = send(&asking("[[mock:stall]]", false)).await;
    assert!(matches!(stalled, Err(ProviderError::FirstByteTimeout(limit)) if limit == FIRST_BYTE));
    assert!(begun.elapsed() >= FIRST_BYTE);

    let (text, error) = streamed("[[mock:stall_after=5]]").await;
    assert!(!text.is_empty());
    assert!(
        matches!(error, Some(ProviderError::ChunkTimeout(limit)) if limit == CHUNK),
        "{error:?}"
    );

    let begun = Instant::now();
    let (_, error) = streamed("[[mock:tokens=20000]] [[mock:delay=10s]]").await;
    assert!(
        matches!(error, Some(ProviderError::TotalTimeout(limit)) if limit == TOTAL),
        "{error:?}"
    );
    assert!(begun.elapsed() >= TOTAL);
}

#[tokio::test]
async fn a_limit_holds_for_a_lengthened_answer_too() {
    let mut body = asking("[[mock:tokens=200]]", false);
    body["max_tokens"] = json!(5);
    let Ok(ProviderReply::Whole { body, .. }) = send(&body).await else {
        panic!("no answer");
    };
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 5);
}

#[tokio::test]
async fn refusals_are_in_openais_form() {
    for body in [json!({}), json!({"messages": "x"}), json!(7)] {
        let Ok(ProviderReply::Whole { status, body, .. }) = send(&body).await else {
            panic!("no answer");
        };
        assert_eq!(status, 400);
        let error = &serde_json::from_slice::<Value>(&body).unwrap()["error"];
        assert_eq!(
            (&error["type"], &error["param"]),
            (&json!("invalid_request_error"), &json!("messages"))
        );
    }
}
