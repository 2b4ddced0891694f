use super::whole;
use crate::{Endpoint, outbound::openai::frames::AnswerFault};
use bytes::Bytes;

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
    assert!(matches!(error_event, Err(AnswerFault::Error)));
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
        assert!(matches!(vectors(body), Err(AnswerFault::NoAnswer(_))), "{body}");
    }
    let error_event = vectors(r#"{"data":[],"error":{"message":"no capacity"}}"#);
    assert!(matches!(error_event, Err(AnswerFault::Error)));
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
        Err(AnswerFault::EndedEarly)
    ));
}
