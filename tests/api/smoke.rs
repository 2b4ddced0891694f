//! `mapleai smoke` on a deployment that is well, and on one that is not.

use std::process::Command;

use crate::support::{
    FakeUpstream, TestApp,
    accounts::{PASSWORD, register},
};

const STEPS: [&str; 11] = [
    "liveness",
    "readiness",
    "health",
    "caching",
    "sign in",
    "models",
    "answer",
    "answer from the cache",
    "stream",
    "sign out",
    "metrics",
];

/// Exit code, and what was printed, without blocking the service.
async fn smoke(arguments: Vec<String>, email: &str, password: &'static str) -> (Option<i32>, String) {
    let email = email.to_owned();
    let blocking = move || {
        let output = Command::new(env!("CARGO_BIN_EXE_mapleai"))
            .arg("smoke")
            .args(arguments)
            .env_clear()
            .env("SMOKE_EMAIL", email)
            .env("SMOKE_PASSWORD", password)
            .env("HEALTH_CHECK_TIMEOUT", "20")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    tokio::task::spawn_blocking(blocking).await.unwrap()
}

/// The names of the steps that ended so.
fn steps<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    lines
        .map(|rest| rest.trim_start().split([':', '(']).next().unwrap().trim_end())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_well() {
    let app = TestApp::start_with(|config| config.server.ops_addr = Some(([127, 0, 0, 1], 0).into())).await;
    let person = register(&app).await;
    let addresses = vec![
        format!("http://{}/", app.address),
        format!("http://{}", app.server.ops_address().unwrap()),
    ];
    let (code, text) = smoke(addresses, &person.email, PASSWORD).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(steps(&text, "ok"), STEPS, "{text}");
    let answered = || {
        let calls = app.upstream.calls();
        calls
            .iter()
            .filter(|call| call.path.ends_with("/chat/completions"))
            .count()
    };
    // One answer and one stream; the other answer is the cache's.
    assert_eq!(answered(), 2, "{text}");
    assert!(
        text.lines()
            .any(|line| line.starts_with("ok   answer from the cache") && line.ends_with(": hit")),
        "{text}"
    );
    assert!(!text.contains(PASSWORD), "{text}");

    let (code, text) = smoke(
        vec![format!("http://{}", app.address)],
        &person.email,
        "not the password",
    )
    .await;
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(steps(&text, "FAIL"), ["sign in"], "{text}");
    assert_eq!(steps(&text, "skip")[..3], ["answers", "stream", "sign out"], "{text}");
    assert_eq!(answered(), 2, "nothing is asked without an account");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn something_else_gets_no_password() {
    let other = FakeUpstream::start().await;
    let url = other.base_url().trim_end_matches("/v1").to_owned();
    let (code, text) = smoke(
        vec![url, "--timeout".to_owned(), "1".to_owned()],
        "ada@maple.test",
        PASSWORD,
    )
    .await;
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(steps(&text, "FAIL")[0], "liveness", "{text}");
    assert!(other.calls().iter().all(|call| !call.path.contains("login")), "{text}");
}
