//! States on the way to a model that answers, and on the way back.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use local_model::supervise::state::State;

use super::{Run, get};

const USUAL: &str = "100,30000,300000";

#[test]
fn ready_is_told_once_the_server_answers_with_the_key_that_only_it_has() {
    let run = Run::start("slow", USUAL);
    run.until("loading", |state| (state == State::Loading).then_some(()));
    super::wait_for(|| (!run.starts().is_empty()).then_some(())).unwrap();
    assert_eq!(run.state(), Some(State::Loading), "it listens, but is not well yet");
    fs::write(run.path("healthy"), "").unwrap();
    let (port, key) = run.ready();
    assert_eq!(key.len(), 64);
    assert_eq!(run.starts()[0].1, key);
    assert!(get(port, "/health", &key).contains("200"));
    assert!(get(port, "/health", "another").contains("401"));
    let mode = fs::metadata(run.path("state.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(run.stderr().contains("SmolLM2 135M answers now"), "{}", run.stderr());
    assert!(!run.stderr().contains(&key), "the key is in the log");
}

#[test]
fn a_server_that_dies_is_started_again_with_another_key() {
    let run = Run::start("well", USUAL);
    let (port, key) = run.ready();
    get(port, "/die", &key);
    run.until("restarting", |state| match state {
        State::Restarting { reason } => reason.contains("exit status: 9").then_some(()),
        State::Ready { key: next, .. } if next != key => Some(()),
        _ => None,
    });
    let next = run.until("ready again", |state| match state {
        State::Ready { key: next, .. } if next != key => Some(next),
        _ => None,
    });
    assert_eq!(run.starts().len(), 2);
    assert_eq!(run.starts()[1].1, next);
}

#[test]
fn three_deaths_within_a_minute_are_the_end_and_told() {
    let mut run = Run::start("crash", USUAL);
    let reason = run.failed();
    assert!(
        reason.contains("three times") && reason.contains("out of luck"),
        "{reason}"
    );
    assert_eq!(run.ended(Duration::from_secs(30)), Some(1));
    assert_eq!(run.starts().len(), 3);
    assert!(run.state().is_some(), "the state file goes on saying why");
}

#[test]
fn a_machine_or_file_that_is_not_fit_is_told_and_not_tried_again() {
    let mut run = Run::start("unfit", USUAL);
    assert_eq!(run.failed(), "the processor has no AVX2, which this build needs");
    assert_eq!(run.ended(Duration::from_secs(30)), Some(1));
    assert_eq!(run.starts().len(), 1);
    assert!(
        run.stderr().contains("reading the file"),
        "standard error goes through: {}",
        run.stderr()
    );
}

#[test]
fn loading_has_a_limit() {
    let mut run = Run::start("mute", "10,300,300000");
    let reason = run.failed();
    assert!(reason.contains("did not answer within"), "{reason}");
    run.ended(Duration::from_secs(30));
    assert!(run.starts().iter().all(|(id, _)| super::is_gone(*id)));
}

#[test]
fn a_file_that_is_no_model_is_failed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let letter = folder.path().join("letter.txt");
    fs::write(&letter, "This is no model but a letter to somebody.").unwrap();
    let began = Instant::now();
    let mut run = Run::with(folder, USUAL, &["--model", letter.to_str().unwrap()]);
    let reason = run.failed();
    assert!(reason.contains("letter.txt") && reason.contains("GGUF"), "{reason}");
    assert_eq!(run.ended(Duration::from_secs(2)), Some(1));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_network_that_comes_back_is_noticed_without_a_hand() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let body = b"GGUF, which this test takes for a whole model".to_vec();
    let expected = format!("{}:{}", body.len(), hex::encode(digest(&SHA256, &body)));
    let url = format!("http://127.0.0.1:{port}/model.gguf");
    drop(listener);
    let run = Run::with(
        tempfile::tempdir().unwrap(),
        "100,30000,200",
        &["--url", &url, "--expect", &expected],
    );
    let reason = run.failed();
    assert!(
        reason.contains("next attempt") && reason.contains("LOCAL_MODEL"),
        "{reason}"
    );
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&body);
        }
    });
    run.ready();
}
