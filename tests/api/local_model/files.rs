//! State files that are none.

use serde_json::json;

use super::{KEY, LONG, Local, MODEL};
use crate::support::FakeUpstream;

#[tokio::test]
async fn a_file_that_is_no_state_is_a_failure_with_its_reason_until_it_is_one() {
    let local = Local::start(LONG).await;
    let server = FakeUpstream::start().await;
    let address = server.base_url();
    let state = |url: &str, key: &str| json!({"state": "ready", "url": url, "key": key, "model": MODEL}).to_string();
    for (content, reason) in [
        (" ".repeat(1 << 20), "it is larger than 16384 bytes"),
        ("ready\n".to_owned(), "it does not hold a state in JSON"),
        (r#"{"state":"dreaming"}"#.to_owned(), "it does not hold a state in JSON"),
        (
            state(&address.replace("127.0.0.1", "localhost"), KEY),
            "its url is not http on a loopback address of this machine",
        ),
        (
            state("https://models.example/v1", KEY),
            "its url is not http on a loopback address of this machine",
        ),
        (state(&address, "two words"), "its key or model has characters"),
    ] {
        local.tell(&json!({"state": "building"})).await;
        local.write(&content);
        local.becomes("failed", None).await;
        let sentence = local.told().await["sentence"].as_str().unwrap().to_owned();
        assert!(sentence.contains(reason) && !sentence.contains(KEY), "{sentence}");
        let answer = local.answer().await;
        assert!(answer.contains(reason), "{answer}");
    }
    assert!(server.calls().is_empty(), "nobody was asked who may not be");
    local.ready_at(&server).await;
    assert_eq!(local.answer().await, "Hello there");
}

#[tokio::test]
async fn a_folder_in_the_files_place_is_a_model_that_was_not_started() {
    let local = Local::start(LONG).await;
    local.tell(&json!({"state": "building"})).await;
    std::fs::remove_file(local.file()).unwrap();
    std::fs::create_dir(local.file()).unwrap();
    local.becomes("not_started", None).await;
    assert!(local.answer().await.ends_with("has not been started."));
}
