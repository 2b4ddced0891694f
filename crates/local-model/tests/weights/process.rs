//! The program itself: killed in the middle, behind a proxy, and how its output looks.

use std::{
    fs,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    Bench, model,
    server::{Reply, Server},
};

fn fetch(bench: &Bench, url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local-model"));
    command
        .args(["fetch", "--url", url, "--expect"])
        .arg(format!("{}:{}", bench.model.len(), bench.settings.model.sha256))
        .env("MAPLE_CACHE", bench.folder.path())
        .stdin(Stdio::null());
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "LOCAL_MODEL",
    ] {
        command.env_remove(name);
    }
    command
}

fn text(output: &Output) -> (String, String) {
    (
        String::from_utf8(output.stdout.clone()).unwrap(),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}

#[test]
fn a_process_that_is_killed_at_a_half_is_gone_on_from_there() {
    let body = model(1_000_000);
    let server = Server::start(move |request, before| match before {
        0 => Reply::whole(&body).silent(500_000, Duration::from_mins(1)),
        _ => Reply::ranged(&body, request),
    });
    let bench = Bench::new();
    let mut first = fetch(&bench, &server.url("/model.gguf"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let part = bench
        .folder
        .path()
        .join("models")
        .join(format!("{}.download.part", bench.settings.model.file));
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::metadata(&part).map_or(0, |about| about.len()) < 500_000 {
        assert!(Instant::now() < deadline, "nothing has come");
        thread::sleep(Duration::from_millis(20));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let second = fetch(&bench, &server.url("/model.gguf")).output().unwrap();
    assert!(second.status.success(), "{:?}", text(&second));
    assert_eq!(server.requests()[1].start(), Some(500_000));
    assert_eq!(fs::read(text(&second).0.trim()).unwrap(), bench.model);
}

#[test]
fn a_process_that_is_killed_before_the_rename_leaves_no_file_and_after_it_a_right_one() {
    let body = model(1_000_000);
    let server = Server::start(move |request, _| Reply::ranged(&body, request));
    let mut bench = Bench::from(&server);
    // Before: all is unpacked beside, nothing has the name.
    fs::write(bench.beside(".part"), &bench.model[..900_000]).unwrap();
    bench.assert_absent();
    bench.obtain().unwrap();
    bench.assert_kept();
    // After: the name is there, the record is not.
    fs::remove_file(bench.beside(".verified")).unwrap();
    bench.obtain().unwrap();
    bench.assert_kept();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_mirror_outside_is_asked_through_the_proxy_and_one_on_this_machine_never() {
    let body = model(1_000_000);
    let proxied = body.clone();
    let proxy = Server::start(move |_, _| Reply::whole(&proxied));
    let near = Server::start(move |_, _| Reply::whole(&body));
    for url in [
        near.url("/model.gguf"),
        format!("http://localhost:{}/model.gguf", near.port),
    ] {
        let inside = Bench::new();
        let output = fetch(&inside, &url)
            .env("HTTP_PROXY", proxy.url(""))
            .env("http_proxy", proxy.url(""))
            .env("ALL_PROXY", proxy.url(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{:?}", text(&output));
        assert!(proxy.requests().is_empty());
    }
    let outside = Bench::new();
    let output = fetch(&outside, "http://mirror.invalid/model.gguf")
        .env("http_proxy", proxy.url(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{:?}", text(&output));
    assert_eq!(proxy.requests()[0].target, "http://mirror.invalid/model.gguf");
}

#[test]
fn output_to_a_file_is_lines_without_a_carriage_return_or_an_escape() {
    let body = model(1_000_000);
    let server = Server::start(move |_, _| Reply::whole(&body));
    let bench = Bench::new();
    let (path, message) = text(&fetch(&bench, &server.url("/model.gguf")).output().unwrap());
    assert_eq!(path.lines().count(), 1, "only the path is on standard output");
    assert!(
        message.lines().count() <= 12 && !message.contains(['\r', '\x1b']),
        "{message}"
    );
}

#[test]
fn a_file_of_text_ends_it_with_a_sentence_and_a_status() {
    let bench = Bench::new();
    let letter = bench.folder.path().join("letter.txt");
    fs::write(&letter, "This is no model but a letter to somebody.").unwrap();
    let output = fetch(&bench, "").arg("--model").arg(&letter).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (_, message) = text(&output);
    assert!(message.contains("letter.txt") && message.contains("GGUF"), "{message}");
}
