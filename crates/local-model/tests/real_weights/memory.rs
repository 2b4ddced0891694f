//! Memory: what the documentation states, measured on the process.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::file;

/// Of the process: the weights, the longest conversation, and a short one beside it.
const MAX_MIB: u64 = 450;

#[test]
fn the_longest_conversations_stay_within_the_stated_memory() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_local-model"))
        .args(["serve", "--model"])
        .arg(file())
        .env("LOCAL_MODEL_KEY", "key")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("a line");
    let listening: Value = serde_json::from_str(&line).expect("JSON");
    let url = format!("http://127.0.0.1:{}/v1/chat/completions", listening["port"]);
    let ask = |words: usize| {
        let client = reqwest::blocking::Client::builder()
            .no_proxy()
            .timeout(None)
            .build()
            .expect("a client");
        let body = json!({"messages": [{"role": "user", "content": "one ".repeat(words)}], "max_tokens": 30, "temperature": 0});
        let answer = client
            .post(&url)
            .bearer_auth("key")
            .body(body.to_string())
            .send()
            .expect("an answer");
        let status = answer.status();
        let text = answer.text().expect("a text");
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let (short, long) = std::thread::scope(|scope| {
        let long = scope.spawn(|| ask(4000));
        (ask(400), long.join().expect("answered"))
    });
    assert!(short["usage"]["prompt_tokens"].as_u64() > Some(400), "{short}");
    assert!(long["usage"]["prompt_tokens"].as_u64() > Some(4000), "{long}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("status");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    // Standard input's end is the end of the process.
    drop(child.stdin.take());
    assert!(child.wait().expect("its status").success());
    assert!(peak / 1024 <= MAX_MIB, "{} MiB", peak / 1024);
}
