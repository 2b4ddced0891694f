//! `local-model healthcheck`: what a container's engine is told.

use std::{fs, path::Path, process::Command};

use super::{Run, get};

const USUAL: &str = "100,30000,300000";

/// Status and standard error of a check.
fn check(state: &Path) -> (Option<i32>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_local-model"))
        .arg("healthcheck")
        .arg("--state")
        .arg(state)
        .output()
        .unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[test]
fn it_is_healthy_while_the_server_that_the_state_file_names_answers_with_its_key() {
    let run = Run::start("slow", USUAL);
    let state = run.path("state.json");
    super::wait_for(|| (!run.starts().is_empty()).then_some(())).unwrap();
    let (status, said) = check(&state);
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(said, "the model is not ready: it is being loaded.\n");
    fs::write(run.path("healthy"), "").unwrap();
    let (port, key) = run.ready();
    assert_eq!(check(&state), (Some(0), String::new()));

    let written = fs::read_to_string(&state).unwrap();
    let other = run.path("other.json");
    fs::write(&other, written.replace(&key, "another")).unwrap();
    let (status, said) = check(&other);
    assert_eq!(status, Some(1), "another server has that port now");
    assert!(said.contains("401") && !said.contains("another"), "{said}");

    fs::copy(&state, &other).unwrap();
    get(port, "/die", &key);
    let (status, said) = check(&other);
    assert_eq!(status, Some(1), "nobody listens there");
    assert!(said.contains("does not answer") && !said.contains(&key), "{said}");
}

#[test]
fn without_a_state_file_or_with_another_file_it_says_which_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    for (content, reason) in [
        (None, "cannot be read"),
        (Some("nonsense"), "is no state file"),
        (
            Some(r#"{"state":"downloading","percent":42}"#),
            "not ready: it is being downloaded (42 %)",
        ),
        (Some(r#"{"state":"failed","reason":"no room"}"#), "not ready: no room"),
    ] {
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let (status, said) = check(&path);
        assert_eq!(status, Some(1));
        assert!(said.contains(reason), "{said}");
    }
}
