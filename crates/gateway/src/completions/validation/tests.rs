use super::{StreamValidator, error_event, whole};
use bytes::Bytes;
use configuration::{ProviderConfig, ProviderKind};
use llm::{Endpoint, sse::ChunkInfo};
use provider::{ProviderError, Stage, mock::MockProvider};

#[test]
fn a_stream_ends_with_a_reason_or_a_mark_and_something_in_it() {
    let validation = |has_answer, is_finished, is_marked| StreamValidator {
        has_answer,
        is_finished,
        is_marked,
        ..StreamValidator::of(1)
    };
    assert!(validation(true, true, false).end().is_ok() && validation(true, false, true).end().is_ok());
    assert!(matches!(
        validation(true, false, false).end(),
        Err(ProviderError::EndedEarly)
    ));
    assert!(matches!(
        validation(false, false, true).end(),
        Err(ProviderError::BadReply(_))
    ));
    let failed = StreamValidator {
        has_failed: true,
        ..validation(true, true, true)
    };
    assert!(matches!(failed.end(), Err(ProviderError::ErrorInAnswer)));
}

#[test]
fn an_answer_that_goes_on_has_not_ended() {
    let chunk = |text_bytes, finished| ChunkInfo {
        has_choices: true,
        text_bytes,
        finished,
        ..ChunkInfo::default()
    };
    let reached = |validation: &mut StreamValidator, chunk: ChunkInfo| {
        let mut stages = String::new();
        validation.note(&chunk, |stage| {
            stages.push(if matches!(stage, Stage::Content) { 'c' } else { 'f' });
        });
        (stages, validation.end().is_ok())
    };
    let mut two = StreamValidator::of(2);
    for (chunk, stages, may_end) in [
        (chunk(1, 0), "c", false),
        (chunk(1, 0), "", false),
        (chunk(0, 1), "", true),
        (chunk(1, 0), "c", false),
        (chunk(0, 1), "f", true),
    ] {
        assert_eq!(reached(&mut two, chunk), (stages.to_owned(), may_end));
    }
    // A reason with every chunk.
    let mut always = StreamValidator::of(1);
    assert_eq!(reached(&mut always, chunk(1, 1)), ("cf".to_owned(), true));
    assert_eq!(reached(&mut always, chunk(1, 1)), ("cf".to_owned(), true));
    assert_eq!(reached(&mut always, chunk(1, 0)), ("c".to_owned(), false));
}

#[test]
fn a_success_without_an_answer_is_none() {
    let chat = |body: &'static str| whole(Endpoint::ChatCompletions, Bytes::from_static(body.as_bytes()));
    for body in [
        r#"{"id":"x","choices":[{"message":{"content":"\"error\""}}]}"#,
        r#"{"choices" : [ {} ]}"#,
        r#"{"choices":[{}],"error":null}"#,
    ] {
        assert_eq!(chat(body).unwrap(), body);
    }
    for body in [
        "",
        "{}",
        r#"{"choices":[]}"#,
        "<html>",
        "7",
        r#"{"id":"\"choices\":[{"}"#,
        "data: x",
    ] {
        assert!(chat(body).is_err(), "{body}");
    }
    let error_event = chat(r#"{"choices":[{}],"error":{"message":"no capacity"}}"#);
    assert!(matches!(error_event, Err(ProviderError::ErrorInAnswer)));
    let vectors = |body: &'static str| whole(Endpoint::Embeddings, Bytes::from_static(body.as_bytes()));
    for body in [
        r#"{"data":[{"embedding":[1]}]}"#,
        r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPw=="}],"model":"embedding"}"#,
        r#"{"data" : [ {"embedding" : [ 0.5, null ]}, {"embedding":[[1],[]]} ]}"#,
        r#"{"data":[{"embedding":[1],"text":"\"embedding\":null"}]}"#,
    ] {
        assert_eq!(vectors(body).unwrap(), body);
    }
    for body in [
        r#"{"data":[{"embedding":null}]}"#,
        r#"{"data":[{"embedding":[]}]}"#,
        r#"{"data":[{"embedding":""}]}"#,
        r#"{"data":[{"object":"embedding","index":0}]}"#,
        r#"{"data":[{"embedding":[1]},{"object":"embedding","embedding" : [ ]}]}"#,
    ] {
        assert!(matches!(vectors(body), Err(ProviderError::BadReply(_))), "{body}");
    }
    let error_event = vectors(r#"{"data":[],"error":{"message":"no capacity"}}"#);
    assert!(matches!(error_event, Err(ProviderError::ErrorInAnswer)));
    assert!(vectors(r#"{"data":[]}"#).is_err() && vectors(r#"{"choices":[{}]}"#).is_err());
}

#[test]
fn events_that_nobody_asked_for_are_put_together() {
    let text = concat!(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\n: ping\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
    );
    let body = whole(Endpoint::ChatCompletions, Bytes::from_static(text.as_bytes())).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], "Hello");
    assert_eq!(body["usage"]["prompt_tokens"], 3);
    let half = &text[..text.find(": ping").unwrap()];
    assert!(matches!(
        whole(Endpoint::ChatCompletions, Bytes::from(half)),
        Err(ProviderError::EndedEarly)
    ));
}

#[test]
fn errors_in_any_shape_become_one_that_clients_raise() {
    let provider = MockProvider::new("mock", &ProviderConfig::new(ProviderKind::Mock));
    for (data, expected) in [
        (
            r#"{"error":{"message":"x"},"y":1}"#,
            r#"{"error":{"message":"x"},"y":1}"#,
        ),
        (
            r#"{"message":"x","code":500}"#,
            r#"{"error":{"message":"x","code":500}}"#,
        ),
        (
            r#"{"choices":[{"error":{"code":502}}]}"#,
            r#"{"error":{"code":502,"message":"{\"code\":502}"}}"#,
        ),
        (r#"{"detail":"x"}"#, r#"{"error":{"detail":"x","message":"x"}}"#),
        (
            "out of memory",
            r#"{"error":{"message":"out of memory","type":"server_error","param":null,"code":"provider_error"}}"#,
        ),
        (
            r#"{"choices":[{"del"#,
            r#"{"error":{"message":"the provider sent an event that is not JSON","type":"server_error","param":null,"code":"provider_error"}}"#,
        ),
    ] {
        let error_event = error_event(&provider, data.as_bytes());
        let error_event = std::str::from_utf8(&error_event).unwrap();
        let error_event: serde_json::Value = serde_json::from_str(error_event.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(
            error_event,
            serde_json::from_str::<serde_json::Value>(expected).unwrap()
        );
    }
}
