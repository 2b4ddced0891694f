//! Ways in which `local-model run` ends: its server ends with it, and the state file says no more that there is a model.

use std::{fs, net::TcpListener, time::Duration};

use rustix::process::Signal;

use super::{Run, is_gone, wait_for};

const USUAL: &str = "100,30000,300000";
/// What is promised is two seconds; a busy machine starts and ends processes late.
const SOON: Duration = Duration::from_secs(8);

fn assert_nothing_left(run: &Run) {
    let servers = run.starts();
    assert!(
        wait_for(|| servers.iter().all(|(id, _)| is_gone(*id)).then_some(())).is_some(),
        "a server goes on"
    );
}

#[test]
fn signals_end_it_and_its_server() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut run = Run::start("well", USUAL);
        run.ready();
        run.signal(signal);
        assert_eq!(run.ended(SOON), Some(0));
        assert_nothing_left(&run);
        assert!(!run.path("state.json").exists());
    }
}

#[test]
fn a_server_that_ignores_signals_is_killed() {
    let mut run = Run::start("stubborn", USUAL);
    run.ready();
    run.signal(Signal::TERM);
    assert_eq!(run.ended(SOON), Some(0));
    assert_nothing_left(&run);
}

#[test]
fn the_end_of_standard_input_ends_it() {
    let mut run = Run::start("well", USUAL);
    run.ready();
    run.stdin = None;
    assert_eq!(run.ended(SOON), Some(0));
    assert_nothing_left(&run);
}

#[test]
fn a_server_does_not_outlive_a_parent_that_is_killed() {
    let mut run = Run::start("well", USUAL);
    run.ready();
    run.signal(Signal::KILL);
    run.ended(SOON);
    assert_nothing_left(&run);
}

#[test]
fn it_ends_while_it_waits_for_a_model_that_is_being_loaded() {
    let mut run = Run::start("mute", USUAL);
    wait_for(|| (!run.starts().is_empty()).then_some(())).unwrap();
    run.signal(Signal::INT);
    assert_eq!(run.ended(SOON), Some(0));
    assert_nothing_left(&run);
}

#[test]
fn it_ends_while_a_source_of_the_file_is_silent() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/model.gguf", silent.local_addr().unwrap());
    let mut run = Run::with(tempfile::tempdir().unwrap(), USUAL, &["--url", &url]);
    run.until("downloading", |state| {
        matches!(state, local_model::supervise::state::State::Downloading { .. }).then_some(())
    });
    run.signal(Signal::TERM);
    assert_eq!(run.ended(SOON), Some(0));
    assert!(!run.path("state.json").exists());
    assert!(fs::read_to_string(run.path("stderr")).unwrap().lines().count() < 5);
}
