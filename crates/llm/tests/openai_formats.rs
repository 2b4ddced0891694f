//! Requests and streams in the shapes that clients and eight servers send, and what is read of each. The files in `openai/` are written by hand after them;
//! `snapshots/` what MapleAI makes of them. `INSTA_UPDATE=always` writes them anew: read the difference.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path};

use bytes::Bytes;
use mapleai_llm::{
    Endpoint,
    conversion::{chunks_to_completion, completion_to_chunks},
    inbound::openai::RequestView,
    outbound::openai::{chunk::delta_text, frames::FrameReader},
};
use serde_json::{Value, json};

fn recorded(name: &str) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai").join(name);
    fs::read(&path).expect("a recorded file").into()
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// The frames of a stream, and the whole answer that it stands for.
fn read_stream(stream: &Bytes) -> Value {
    let mut reader = FrameReader::new(1);
    reader.push(stream.clone());
    let mut frames = Vec::new();
    while let Some(frame) = reader.next(<[u8]>::to_vec, drop) {
        let info = frame.info;
        frames.push(json!({
            "kind": format!("{:?}", frame.kind),
            "usage": info.usage.map(|usage| format!("{usage:?}")),
            "text": delta_text(&frame.data()),
            "text_bytes": info.text_bytes,
            "substance": info.has_substance,
            "finished": info.finished,
            "complete": info.complete,
        }));
    }
    let end = reader.end().map_err(|fault| fault.to_string());
    let whole = chunks_to_completion(stream, b"").map(|whole| json_of(&whole));
    json!({"frames": frames, "end": end, "whole": whole})
}

macro_rules! streams {
    ($($test:ident => $name:literal;)+) => {$(
        #[test]
        fn $test() {
            insta::assert_json_snapshot!($name, read_stream(&recorded(concat!($name, ".sse"))));
        }
    )+};
}

streams! {
    a_stream_of_openai => "openai";
    calls_of_tools_in_pieces => "openai-tools";
    azure_begins_without_choices_and_ends_by_its_filter => "azure";
    vllm_counts_in_every_chunk => "vllm";
    ollama_names_the_role_in_every_chunk => "ollama";
    llama_cpp_counts_in_the_last_chunk => "llama-cpp";
    mistral_counts_where_it_finishes => "mistral";
    deepseek_thinks_aloud => "deepseek";
    openrouter_sends_comments => "openrouter";
    an_error_in_the_middle => "error";
}

macro_rules! requests {
    ($($test:ident => $name:literal;)+) => {$(
        #[test]
        fn $test() {
            let body = recorded(concat!($name, ".request.json"));
            let read = match RequestView::read(&body, Endpoint::ChatCompletions) {
                Ok(request) => {
                    let sent = request.for_upstream(&body, "upstream-model", request.form.streamed && !request.form.include_usage);
                    json!({"view": format!("{request:?}"), "sent": String::from_utf8_lossy(&sent)})
                }
                Err(error) => json!({"refused": error.to_string()}),
            };
            insta::assert_json_snapshot!(concat!("request-", $name), read);
        }
    )+};
}

requests! {
    a_request_keeps_its_bytes_but_for_the_model => "minimal";
    white_space_and_unknown_fields_stay => "streamed";
    usage_is_asked_for_beside_other_options => "with-usage";
    tools_pass_through => "tools";
    a_model_is_needed => "without-model";
    a_misspelt_name_is_refused_with_the_right_one => "misspelt";
    a_wrong_type_is_refused_by_name => "wrong-type";
}

/// The answers that can be put together are taken apart into chunks that mean the same.
#[test]
fn a_stream_survives_the_way_there_and_back() {
    for name in ["openai", "openai-tools", "ollama", "deepseek"] {
        let whole = chunks_to_completion(&recorded(&format!("{name}.sse")), b"").expect("an answer");
        let (events, usage) = completion_to_chunks(&whole).expect("chunks");
        let again = chunks_to_completion(&events, &usage).expect("an answer");
        assert_eq!(json_of(&again), json_of(&whole), "{name}");
    }
}
