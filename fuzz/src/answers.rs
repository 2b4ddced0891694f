//! Whole answers of providers, what is read of them, and both conversions.

#[path = "../../crates/people/src/titles/wording.rs"]
mod wording;

use bytes::Bytes;
use domain::conversation::MAX_TITLE_LENGTH;
use llm::{
    Endpoint,
    conversion::{chunks_to_completion, chunks_to_completion_lenient, completion_to_chunks},
    outbound::openai::{
        answer,
        chunk::{answer_text, scan_chunk},
        fault, said,
    },
};
use serde_json::Value;

pub fn check(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Embeddings] {
        let _ = (answer::read(endpoint, &body), answer::is_full(endpoint, data, 1));
    }
    let _ = (
        said::said(data),
        said::objection(data),
        scan_chunk(data),
        answer_text(data),
    );
    let event = fault::error_event(data);
    assert!(event.starts_with(b"data: ") && event.ends_with(b"\n\n"));
    assert!(serde_json::from_slice::<Value>(&event["data: ".len()..]).is_ok_and(|error| !error["error"].is_null()));
    let refusal = fault::refusal(data);
    assert!(serde_json::from_slice::<Value>(&refusal).map_or(refusal == data, |body| body["error"].is_object()));
    if let Some(title) = wording::title_of(data) {
        assert!(
            !title.contains(char::is_control) && title.chars().count() <= MAX_TITLE_LENGTH,
            "{title:?}"
        );
    }
    for whole in [chunks_to_completion(data, b""), chunks_to_completion_lenient(data)]
        .into_iter()
        .flatten()
    {
        assert!(
            serde_json::from_slice::<Value>(&whole).is_ok(),
            "what is put together is JSON"
        );
    }
    // A completion that becomes chunks and again a completion is what it was, as far as it can be told.
    if let Some((chunks, usage)) = completion_to_chunks(data)
        && let Some(again) = chunks_to_completion(&chunks, &usage)
    {
        let (chunks_again, usage_again) = completion_to_chunks(&again).expect("a completion");
        assert_eq!(chunks_to_completion(&chunks_again, &usage_again), Some(again));
    }
}
