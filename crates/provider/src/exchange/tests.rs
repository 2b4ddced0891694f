//! What a vendor with an API of its own gets of what all share, by one that is made up.

mod acme;
pub(crate) mod upstream;

use std::{collections::BTreeMap, net::SocketAddr};

use futures_util::StreamExt;
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    Provider, ProviderError, ProviderReply, ProviderRequest, Registry,
    registry::{ProviderSetupError, Vendor},
};
use acme::AcmeProvider;
use configuration::{AnswerCaching, ModelConfig, ProviderConfig, ProviderKind};
use llm::{
    Endpoint,
    frame::{Frame, FrameKind},
    outbound::{openai::chunk::delta_text, read},
};
use upstream::{Connection, serve, watch};

const END: &str = "data: {\"why\":\"end\",\"cost\":{\"in\":3,\"out\":2}}\n\n";

fn config(address: SocketAddr) -> ProviderConfig {
    ProviderConfig {
        base_url: Some(format!("http://{address}/api").parse().unwrap()),
        api_key: Some("acme-key-of-ours".into()),
        ..ProviderConfig::new(ProviderKind::Openai)
    }
}

fn acme(address: SocketAddr) -> AcmeProvider {
    AcmeProvider::new("acme", &config(address)).unwrap()
}

fn asked(stream: bool, content: &Value) -> ProviderRequest {
    let body = json!({"model": "talker", "messages": [{"role": "user", "content": content}], "max_tokens": 9, "stream": stream});
    ProviderRequest {
        stream,
        ..ProviderRequest::whole(Endpoint::ChatCompletions, "talker".into(), body.to_string().into())
    }
}

/// Answers each request with this, by the script.
fn answering(answer: impl Fn(&mut Connection) + Send + Sync + 'static) -> SocketAddr {
    serve(move |_, connection| {
        connection.request();
        answer(connection);
    })
}

#[tokio::test]
async fn a_request_is_converted_and_so_is_its_answer() {
    let (address, mut requests) = watch(|_, connection| {
        let request = connection.request();
        let answer = r#"{"says":"Hello","why":"full","cost":{"in":3,"out":2}}"#;
        connection.answer("200 OK", "acme-talk: t1\r\nacme-rest: 5\r\n", answer);
        request
    });
    let parts = json!([{"type": "text", "text": "Say "}, {"type": "text", "text": "hello"}]);
    let reply = acme(address).send(asked(false, &parts)).await.ok().unwrap();
    let ProviderReply::Whole { status, headers, body } = reply else {
        panic!("a stream");
    };
    assert_eq!(
        (status, &headers["x-upstream-request-id"]),
        (StatusCode::OK, &"t1".parse().unwrap())
    );
    assert!(!headers.contains_key("acme-rest"), "{headers:?}");
    let answer = read(Endpoint::ChatCompletions, &body).unwrap();
    let reported = answer.usage.reported.unwrap();
    assert_eq!((reported.input, reported.output), (3, 2));
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let request = requests.recv().await.unwrap().unwrap();
    assert!(
        request.head.starts_with("POST /api/talk HTTP/1.1\n"),
        "{}",
        request.head
    );
    assert!(
        request.head.contains("acme-key: acme-key-of-ours\n"),
        "{}",
        request.head
    );
    assert!(!request.head.contains("authorization"), "{}", request.head);
    assert_eq!(
        serde_json::from_slice::<Value>(&request.body).unwrap(),
        json!({"model": "talker", "prompt": [{"from": "user", "says": "Say hello"}], "max_words": 9, "live": false})
    );
}

async fn frames(address: SocketAddr) -> Vec<Result<Frame, ProviderError>> {
    match acme(address).send(asked(true, &json!("Hi"))).await {
        Ok(ProviderReply::Stream { frames, .. }) => frames.collect().await,
        Ok(ProviderReply::Whole { .. }) => panic!("whole"),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_stream_becomes_frames_in_openai_s_form() {
    use FrameKind::{Comment, Data, Done, Usage};
    let address = answering(|connection| {
        connection.begin_stream();
        // Cut in the middle of an event.
        connection.chunk(": thinking\n\nevent: words\ndata: {\"says\":\"Hel");
        connection.chunk("\"}\n\nevent: words\ndata: {\"says\":\"lo\"}\n\n");
        connection.chunk(END);
        connection.end_stream();
    });
    let frames: Vec<_> = frames(address).await.into_iter().map(Result::unwrap).collect();
    let kinds: Vec<_> = frames.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [Comment, Data, Data, Data, Usage, Done]);
    let text: String = frames[1..4]
        .iter()
        .filter_map(|frame| delta_text(&frame.data()))
        .collect();
    assert_eq!(text, "Hello");
    let usage = frames[4].usage().unwrap();
    assert_eq!((usage.input, usage.output), (3, 2));
}

#[tokio::test]
async fn a_stream_that_breaks_off_or_reports_an_error_is_no_answer() {
    let address = answering(|connection| {
        connection.begin_stream();
        connection.chunk("data: {\"says\":\"Hel\"}\n\n");
        connection.end_stream();
    });
    let last = frames(address).await.pop().unwrap();
    assert!(matches!(last, Err(ProviderError::EndedEarly)), "{last:?}");
    let address = answering(|connection| {
        connection.begin_stream();
        connection.chunk("data: {\"fault\":{\"text\":\"firm_A1B2C3D4 has no room\",\"number\":7}}\n\n");
        connection.end_stream();
    });
    let last = frames(address).await.pop().unwrap().unwrap();
    assert_eq!(last.kind, FrameKind::Error);
    let error: Value = serde_json::from_slice(&last.data()).unwrap();
    assert_eq!(error["error"]["message"], "[redacted] has no room");
}

#[tokio::test]
async fn a_refusal_says_what_the_vendor_says_and_not_its_json() {
    let address = answering(|connection| {
        let fault = r#"{"fault":{"text":"too long for firm_A1B2C3D4, acme-key-of-ours","number":12}}"#;
        connection.answer("413 Content Too Large", "acme-talk: t2\r\n", fault);
    });
    let refused = |reply| match reply {
        Ok(ProviderReply::Whole { status, body, .. }) => {
            let body: Value = serde_json::from_slice(&body).unwrap();
            (
                status.as_u16(),
                body["error"]["message"].clone(),
                body["error"]["param"].clone(),
            )
        }
        Ok(ProviderReply::Stream { .. }) => panic!("a stream"),
        Err(error) => panic!("{error:?}"),
    };
    let acme = acme(address);
    assert_eq!(
        refused(acme.send(asked(true, &json!("Hi"))).await),
        (413, "too long for [redacted], [redacted]".into(), Value::Null)
    );
    // What it has no words for is refused before it is asked.
    let picture = json!([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]);
    let message = "invalid type for 'messages': expected messages of text alone";
    assert_eq!(
        refused(acme.send(asked(false, &picture)).await),
        (400, message.into(), "messages".into())
    );
    let address = answering(|connection| connection.answer("503 Busy", "retry-after: 7\r\n", "{}"));
    let busy = self::acme(address).send(asked(false, &json!("Hi"))).await;
    assert!(matches!(busy, Err(ProviderError::Busy { .. })));
}

#[tokio::test]
async fn what_it_cannot_do_is_not_asked_of_it() {
    let address = answering(|connection| connection.answer("200 OK", "", r#"{"says":"Hello","why":"end"}"#));
    let model = |kind: &str| -> ModelConfig {
        serde_json::from_value(json!({"id": "talker", "provider": "acme", "kind": kind})).unwrap()
    };
    let build = |config: ProviderConfig, kind| {
        let providers = BTreeMap::from([("acme".to_owned(), config)]);
        Registry::build_of(&providers, &[model(kind)], AnswerCaching::Off, |name, config, _| {
            Ok(Vendor::of(AcmeProvider::new(name, config)?))
        })
    };
    let registry = build(config(address), "chat").ok().unwrap();
    let upstream = &registry.route("talker").unwrap().upstream;
    assert!(!upstream.reports_usage_in_streams());
    assert!(upstream.send(asked(false, &json!("Hi"))).await.is_ok());
    assert!(matches!(
        build(config(address), "embedding"),
        Err(ProviderSetupError::NoEmbeddings { .. })
    ));
    let listing = ProviderConfig {
        discover_models: true,
        ..config(address)
    };
    assert!(matches!(
        build(listing, "chat"),
        Err(ProviderSetupError::NoModelList(_))
    ));
}
